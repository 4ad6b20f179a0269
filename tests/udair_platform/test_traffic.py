"""Canary, shadow and pinning through the API into routes.json; replicas' reports into events."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from udair_jobs.storage import StorageUnavailable
from udair_platform.documents import routes, store_paths
from udair_platform.errors import StoreDown
from udair_platform.services.reports import BLOCKED, DRIFTED, STALE, UNHELD, ReportCollector

ROUTE = "/v1/domains/foggy-cams/route"


@pytest.fixture
def domain(plane):
    made = plane.domain()
    for _ in range(3):
        plane.version(made)
    assert plane.client.post("/v1/domains/foggy-cams/versions/1:promote").status_code == 200
    return made


def _entry(plane) -> dict:
    return routes.read(plane.store)["domains"]["acme/foggy-cams"]


def test_a_canary_and_a_shadow_stand_in_the_routes_until_they_are_taken_away(plane, domain):
    body = {"canary": {"version": 2, "percent": 10}, "shadow": {"version": 3, "percent": 50}, "pinned": True}
    answer = plane.client.put(ROUTE, json=body)
    assert answer.status_code == 200, answer.text
    told = {"tone": "keep", "passthrough": "", "out_of_use": "", "canary_auto_rollback": False, "min_ready": 0}
    assert answer.json() == {**body, "state": "CANARYING", "version": 1, **told, "holders": 0, "unheld": ""}
    entry = _entry(plane)
    assert (entry["version"], entry["canary"]["version"], entry["canary"]["percent"]) == (1, 2, 10)
    assert (entry["shadow"]["version"], entry["pinned"]) == (3, True)
    assert entry["canary"]["adapter_digest"] != entry["adapter_digest"]
    assert entry["source_uri"] == "s3://acme-photos/cams"
    assert entry["profile_uri"] == entry["candidate_uri"]

    assert plane.client.get(ROUTE).json()["canary"] == {"version": 2, "percent": 10}
    assert plane.client.put(ROUTE, json={}).json()["state"] == "ACTIVE"
    assert (_entry(plane)["canary"], _entry(plane)["pinned"]) == (None, False)
    kinds = [event["kind"] for event in plane.client.get("/v1/events").json()["events"]]
    assert kinds.count("route.changed") == 2


def test_promoting_the_canary_ends_it(plane, domain):
    plane.client.put(ROUTE, json={"canary": {"version": 2, "percent": 10}, "pinned": True})
    assert plane.client.post("/v1/domains/foggy-cams/versions/2:promote").status_code == 200
    assert (_entry(plane)["version"], _entry(plane)["canary"], _entry(plane)["pinned"]) == (2, None, True)


def test_a_refused_version_may_be_a_shadow_and_never_a_canary(plane, domain, evidence):
    number = plane.version(domain, evidence["FAILED"])
    refused = plane.client.put(ROUTE, json={"canary": {"version": number, "percent": 1}})
    assert (refused.status_code, refused.json()["code"]) == (409, "GATE_REJECTED")
    assert plane.client.put(ROUTE, json={"shadow": {"version": number, "percent": 1}}).json()["state"] == "SHADOWING"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"canary": {"version": 1, "percent": 10}}, 422),
        ({"canary": {"version": 2, "percent": 0}}, 422),
        ({"canary": {"version": 2, "percent": 101}}, 422),
        ({"canary": {"version": 99, "percent": 10}}, 404),
        ({"shadow": {"version": 99, "percent": 10}}, 404),
        ({"split": 3}, 422),
        ({"min_ready": -1}, 422),
        ({"min_ready": 101}, 422),
    ],
)
def test_bad_shares_are_refused_and_nothing_changes(plane, domain, body, status):
    before = _entry(plane)
    assert plane.client.put(ROUTE, json=body).status_code == status
    assert _entry(plane) == before


def test_only_an_approver_of_the_tenant_shares_out(plane, domain, other_tenant):
    for token, status in ((plane.token("domain:write"), 403), (plane.token("admin", tenant=other_tenant), 404)):
        answer = plane.client.put(ROUTE, json={}, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status


def test_a_domain_that_the_source_serves_is_compared_with_its_newest_job(plane):
    made = plane.domain()
    routes.publish(plane.database, plane.store)
    assert _entry(plane)["profile_uri"] is None
    plane.version(made)
    plane.reconciler.tick()
    assert _entry(plane)["version"] == 0
    assert _entry(plane)["profile_uri"].endswith("/candidate")


def _report(plane, replica: str, **told) -> None:
    document = {
        "schema_version": 1,
        "replica": replica,
        "time": plane.clock().timestamp(),
        "domains": {"acme/foggy-cams": told, "acme/gone": told},
    }
    plane.store.put(store_paths.report(replica), json.dumps(document).encode())


def _events(plane, kind: str) -> list[dict]:
    events = plane.client.get("/v1/events").json()["events"]
    return [event["data"] for event in events if event["kind"] == kind]


def test_replicas_reports_become_events_once(plane):
    plane.domain()
    blocked = {"version": 3, "serving": 2, "reason": "damaged", "since": 1.0}
    drift = {
        "images": 128,
        "divergence": 0.31,
        "threshold": 0.05,
        "crossed": True,
        "confirmed": True,
        "ended_time": 5.0,
        "class_shares": {"haze": 0.41},
        "reference_class_shares": {"haze": 0.12},
    }
    for replica in ("a", "b"):
        _report(plane, replica, blocked=blocked, drift=drift)
    for _ in range(3):
        plane.reconciler.tick()
        plane.clock.forward(11)
    assert [(note["version"], note["serving"]) for note in _events(plane, BLOCKED)] == [(3, 2)]
    (drifted,) = _events(plane, DRIFTED)
    assert drifted["class_shares"]["haze"] == 0.41
    _report(plane, "a", blocked=blocked | {"version": 4}, drift=drift)
    plane.reconciler.release()
    again = plane.restarted()
    again.tick()
    assert [note["version"] for note in _events(plane, BLOCKED)] == [3, 4]
    assert len(_events(plane, DRIFTED)) == 1
    plane.clock.forward(25 * 3600)
    _report(plane, "a", drift=drift)
    again.tick()
    assert len(_events(plane, DRIFTED)) == 2
    assert not plane.store.exists(store_paths.report("b")), "its replica has been gone for a day"


def test_how_many_replicas_hold_the_version_that_serves_and_why_one_does_not(plane, domain, monkeypatch):
    assert plane.client.put(ROUTE, json={"min_ready": 2}).json()["min_ready"] == _entry(plane)["min_ready"] == 2
    why = "5 adapters shall be held in 4 slots, which hold 3; raise UDAIR_SERVE_SLOTS, or lower min_ready"
    for replica, held in (("a", 1), ("b", 1), ("c", 2)):
        _report(plane, replica, held=held, unheld="")
    _report(plane, "d", held=None, unheld=why)
    _report(plane, "old")  # of a release that does not say
    route = plane.client.get(ROUTE).json()
    assert (route["version"], route["holders"], route["unheld"]) == (1, 2, why)
    for _ in range(3):
        plane.reconciler.tick()
        plane.clock.forward(11)
    assert [note["reason"] for note in _events(plane, UNHELD)] == [why], "once a day"
    with monkeypatch.context() as away:
        gone = StorageUnavailable("x", "gone")
        away.setattr(type(plane.store), "list", lambda *_: (_ for _ in ()).throw(gone))
        assert plane.client.get(ROUTE).json()["holders"] is None
    assert plane.client.post("/v1/domains/foggy-cams:rollback", json={}).status_code == 200
    assert plane.client.get(ROUTE).json()["holders"] is None, "the base model needs no adapter"


def test_what_a_replica_that_is_gone_last_said_is_no_event(plane):
    plane.domain()
    _report(plane, "a", blocked={"version": 3, "serving": 2, "reason": "damaged"}, drift={"confirmed": True})

    def told(after: timedelta) -> int:
        return ReportCollector(plane.store, plane.change, lambda: plane.clock() + after).collect()

    assert told(STALE + timedelta(seconds=1)) == 0
    assert plane.store.exists(store_paths.report("a")), "it may come back"
    assert told(STALE) == 2


def test_an_unconfirmed_drift_and_a_damaged_report_are_no_events(plane):
    plane.domain()
    _report(plane, "a", drift={"crossed": True, "confirmed": False})
    plane.store.put(store_paths.report("b"), b"{")
    plane.store.put(store_paths.report("c"), b'{"time": 1764000000, "domains": 3}')
    assert ReportCollector(plane.store, plane.change, plane.clock).collect() == 0


def test_a_store_that_is_away_is_said_and_the_reports_are_read_later(plane, monkeypatch):
    plane.domain()
    _report(plane, "a", blocked={"version": 3, "serving": 2, "reason": "damaged", "since": 1.0})
    reports = ReportCollector(plane.store, plane.change, plane.clock)
    with monkeypatch.context() as away:
        away.setattr(type(plane.store), "list", lambda *_: (_ for _ in ()).throw(StorageUnavailable("x", "gone")))
        with pytest.raises(StoreDown):
            reports.collect()
    assert reports.collect() == 1
