"""Domains adapted at their times and when they drift."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.contract.domains import Schedule
from udair_platform.errors import Invalid
from udair_platform.services import schedules

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def _create(plane, name: str = "night-cams", **schedule) -> dict:
    body = {"name": name, "source_uri": "s3://acme/cams", "schedule": schedule}
    answer = plane.client.post("/v1/domains", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _jobs(plane, name: str = "night-cams") -> list[dict]:
    return plane.client.get(f"/v1/domains/{name}/jobs").json()["jobs"]


def _kinds(plane) -> list[str]:
    return [event["kind"] for event in plane.client.get("/v1/events?page_size=1000").json()["events"]]


def test_a_domain_is_adapted_when_its_time_comes_and_once(plane):
    view = _create(plane, cron="0 3 * * *", recipe={"steps": 4})
    assert view["schedule"]["next_run_time"] == "2026-11-24T03:00:00Z"
    plane.reconciler.tick()
    assert _jobs(plane) == []
    plane.clock.now = datetime(2026, 11, 24, 3, 0, 1, tzinfo=UTC)
    for _ in range(4):
        plane.reconciler.tick()
    (job,) = _jobs(plane)
    assert (job["actor"], job["priority"], job["recipe"], job["state"]) == (
        "schedule",
        "LOW",
        {"steps": 4},
        "SUCCEEDED",
    )
    again = plane.client.get("/v1/domains/night-cams").json()
    assert again["schedule"]["next_run_time"] == "2026-11-25T03:00:00Z"


def test_times_that_were_missed_are_one_time(plane):
    _create(plane, cron="0 * * * *")
    plane.clock.now = NOW + timedelta(days=3)
    for _ in range(4):
        plane.reconciler.tick()
    assert len(_jobs(plane)) == 1


def test_a_domain_that_is_being_adapted_is_left_alone_and_that_is_said(plane):
    _create(plane, cron="0 * * * *")
    plane.client.post("/v1/domains/night-cams/jobs", json={})
    plane.clock.now = NOW + timedelta(hours=1, seconds=1)
    with plane.database.read() as state:
        (domain,) = schedules.due(state, plane.clock())
    with plane.change() as tx:
        assert schedules.run(tx, domain) is None
    assert len(_jobs(plane)) == 1
    assert schedules.SKIPPED in _kinds(plane)


def test_a_schedule_is_changed_and_ended(plane):
    _create(plane, cron="0 * * * *")
    changed = plane.client.patch("/v1/domains/night-cams", json={"schedule": {"cron": "30 4 1 * *"}}).json()
    assert changed["schedule"]["next_run_time"] == "2026-12-01T04:30:00Z"
    ended = plane.client.patch("/v1/domains/night-cams", json={"schedule": {}}).json()
    assert ended["schedule"] == {"cron": "", "on_drift": False, "recipe": {}, "next_run_time": None}
    plane.clock.now = NOW + timedelta(days=60)
    plane.reconciler.tick()
    assert _jobs(plane) == []


@pytest.mark.parametrize(
    "cron", ["* * * * *", "*/5 * * * *", "0 0 30 2 *", "hourly", "0 3 * *", "61 * * * *", "@reboot"]
)
def test_schedules_that_are_none_are_refused(plane, cron):
    answer = plane.client.post(
        "/v1/domains", json={"name": "night-cams", "source_uri": "s3://acme/cams", "schedule": {"cron": cron}}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/schedule/cron"


@given(st.text(max_size=30))
def test_no_text_breaks_the_parser(text):
    try:
        found = schedules.next_time(Schedule(cron=text), NOW)
    except Invalid:
        return
    assert found is None or found > NOW


def _report(plane, name: str, ended: str) -> None:
    drift = {
        "confirmed": True,
        "crossed": True,
        "images": 64,
        "divergence": 0.4,
        "threshold": 0.1,
        "class_shares": {},
        "reference_class_shares": {},
        "ended_time": ended,
    }
    report = {
        "replica": "r1",
        "time": plane.clock().timestamp(),
        "began_time": plane.clock().timestamp() - 60,
        "domains": {f"acme/{name}": {"drift": drift, "usage": {"images": 7, "pixels": 700, "forward_s": 0.5}}},
    }
    plane.store.put("serving/reports/r1.json", json.dumps(report).encode())


@pytest.mark.parametrize("wanted", [True, False])
def test_a_domain_that_drifts_is_adapted_again_if_it_wants_that(plane, wanted):
    _create(plane, on_drift=wanted)
    _report(plane, "night-cams", "2026-11-23T12:00:00Z")
    for _ in range(3):
        plane.reconciler.tick()
    assert "domain.drifted" in _kinds(plane)
    assert [job["actor"] for job in _jobs(plane)] == (["schedule"] if wanted else [])


def test_usage_and_drift_are_told(plane):
    _create(plane)
    _report(plane, "night-cams", "2026-11-23T12:00:00Z")
    usage = plane.client.get("/v1/domains/night-cams/usage").json()
    assert (usage["images"], usage["pixels"], usage["replicas"]) == (7, 700, 1)
    drift = plane.client.get("/v1/domains/night-cams/drift").json()
    assert drift["confirmed"] is True
    assert drift["windows"][0]["images"] == 64
    plane.clock.forward(3600)
    assert plane.client.get("/v1/domains/night-cams/usage").json()["replicas"] == 0, "its replica is gone"


def test_a_job_that_has_ended_is_run_again_on_the_same_images(plane):
    domain = plane.domain()
    job = plane.settle(plane.submit(domain).id)
    again = plane.client.post(f"/v1/domains/{domain.name}/jobs/{job.id}:retry")
    assert again.status_code == 202, again.text
    assert again.json()["snapshot_id"] == job.snapshot_id
    assert again.json()["id"] != job.id
    running = plane.client.post(f"/v1/domains/{domain.name}/jobs/{again.json()['id']}:retry")
    assert (running.status_code, running.json()["code"]) == (409, "INVALID_STATE")
