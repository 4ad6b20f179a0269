"""What people decide about versions: approved, rejected, put away, and by whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from udair_platform.entities.version import VersionState
from udair_platform.services import approval, schedules, versions

D = "/v1/domains/foggy-cams"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refused(reply, status: int, code: str) -> str:
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    return reply.json()["detail"]


def pending(plane, evidence, **rules) -> int:
    return plane.version(plane.domain(**rules), evidence["INCONCLUSIVE"])


def decisions(plane) -> list[tuple[str, str, str]]:
    events = plane.client.get("/v1/events", params={"noun": "version"}).json()["events"]
    return [(e["kind"], e["actor"].partition(":")[0], e["cause"]) for e in events[3:]]


def test_approved_version_can_be_promoted_and_the_event_says_who_and_why(plane, evidence) -> None:
    number = pending(plane, evidence)
    refused(plane.client.post(f"{D}/versions/{number}:promote"), 409, "GATE_REJECTED")

    approved = plane.client.post(f"{D}/versions/{number}:approve", json={"reason": "looked at thirty images"})

    assert (approved.json()["state"], approved.json()["verdict"]) == ("ACTIVE", "INCONCLUSIVE")
    shown = plane.client.get(f"{D}/versions/{number}").json()
    assert shown["reviewed_by"].startswith("key:")
    assert (shown["review_reason"], shown["reviewed_time"][:10]) == ("looked at thirty images", "2026-11-23")
    assert decisions(plane) == [("version.ACTIVE", "key", "looked at thirty images")]
    assert plane.client.post(f"{D}/versions/{number}:promote").is_success


def test_rejected_version_stays_rejected(plane, evidence) -> None:
    pending(plane, evidence)

    assert plane.client.post(f"{D}/versions/@candidate:reject").json()["state"] == "REJECTED"

    for verb in ("approve", "promote"):
        assert "by key:" in refused(plane.client.post(f"{D}/versions/1:{verb}"), 409, "GATE_REJECTED")
    refused(plane.client.post(f"{D}/versions/1:archive"), 409, "VERSION_IN_USE")  # it is the candidate


@pytest.mark.parametrize(
    ("verb", "start", "end"),
    [
        ("approve", "INCONCLUSIVE", "ACTIVE"),
        ("reject", "INCONCLUSIVE", "REJECTED"),
        ("archive", "PASSED", "ARCHIVED"),
    ],
)
def test_a_decision_keeps_its_reason_and_without_one_says_what_was_done(plane, evidence, verb, start, end) -> None:
    domain = plane.domain()
    for _ in range(2):
        plane.version(domain, evidence[start])
    plane.version(domain, evidence[start])  # takes the alias `candidate`
    plane.client.post(f"{D}/versions/1:{verb}")
    plane.client.post(f"{D}/versions/2:{verb}", json={"reason": "I looked"})
    events = plane.client.get("/v1/events", params={"noun": "version"}).json()["events"]
    done = {"approve": "approved", "reject": "rejected", "archive": "archived"}[verb]
    assert [(e["cause"]) for e in events if e["kind"] == f"version.{end}"][-2:] == [done, "I looked"]
    if verb != "archive":
        shown = [plane.client.get(f"{D}/versions/{number}").json()["review_reason"] for number in (1, 2)]
        assert shown == [done, "I looked"]


def test_what_nobody_decides_about_is_rejected_once_its_time_is_over(plane, evidence) -> None:
    domain = plane.domain()
    number = plane.version(domain, evidence["INCONCLUSIVE"])
    plane.version(domain, evidence["PASSED"])

    def overdue(after_s: float) -> list[int]:
        with plane.database.read() as state:
            now = state.versions.get("acme", domain.id, number).updated_time + timedelta(seconds=after_s)
            return [one.number for one in approval.overdue(state, timeout_s=3600, now=now)]

    assert (overdue(3600), overdue(3601)) == ([], [number])
    with plane.change() as tx:
        expired = approval.expire(tx, tx.state.versions.get("acme", domain.id, number), timeout_s=3600)
    assert (expired.state, expired.review_reason) == (VersionState.REJECTED, "not approved within 3600 s")
    assert expired.reviewed_by is not None
    assert overdue(3601) == []


def test_verdict_of_the_gate_is_not_overruled(plane, evidence) -> None:
    plane.version(plane.domain(), evidence["FAILED"])

    assert "by the gate" in refused(plane.client.post(f"{D}/versions/1:approve"), 409, "GATE_REJECTED")


def test_saying_the_same_again_changes_nothing(plane, evidence) -> None:
    domain = plane.domain()
    for _ in range(3):
        plane.version(domain, evidence["INCONCLUSIVE"])
    verbs = (("1", "approve"), ("2", "reject"), ("1", "archive"))
    once = [plane.client.post(f"{D}/versions/{number}:{verb}").json() for number, verb in verbs]
    before = decisions(plane)

    assert plane.client.post(f"{D}/versions/2:reject").json() == once[1]
    assert plane.client.post(f"{D}/versions/1:archive").json() == once[2]
    assert decisions(plane) == before


@pytest.mark.parametrize(
    ("verb", "state"),
    [("reject", "ACTIVE"), ("reject", "ARCHIVED"), ("approve", "ARCHIVED"), ("archive", "PENDING_APPROVAL")],
)
def test_decision_that_the_state_does_not_allow_is_refused(plane, evidence, verb: str, state: str) -> None:
    domain = plane.domain()
    number = plane.version(domain, evidence["INCONCLUSIVE" if state == "PENDING_APPROVAL" else "PASSED"])
    plane.version(domain)  # takes the alias `candidate`
    if state == "ARCHIVED":
        with plane.change() as tx:
            version = tx.state.versions.get("acme", domain.id, number)
            versions.change(tx, version, VersionState.ARCHIVED)

    assert state in refused(plane.client.post(f"{D}/versions/{number}:{verb}"), 409, "INVALID_STATE")


def test_version_that_something_points_at_is_not_put_away(plane) -> None:
    domain = plane.domain()
    for _ in range(4):
        plane.version(domain)
    plane.client.post(f"{D}/versions/1:promote")
    plane.client.put(f"{D}/aliases/keep-me", json={"version": 2})
    plane.client.put(f"{D}/route", json={"canary": {"version": 3, "percent": 5}})

    for number, why in ((1, "champion"), (2, "keep-me"), (3, "traffic"), (4, "candidate")):
        assert why in refused(plane.client.post(f"{D}/versions/{number}:archive"), 409, "VERSION_IN_USE")
    plane.client.put(f"{D}/route", json={})
    assert plane.client.post(f"{D}/versions/3:archive").json()["state"] == "ARCHIVED"
    refused(plane.client.post(f"{D}/versions/3:promote"), 409, "INVALID_STATE")


def test_source_model_and_unknown_versions_are_not_decided_on(plane) -> None:
    plane.domain()
    for name in ("0", "7", "@champion", "@nobody"):
        for verb in ("approve", "reject", "archive"):
            refused(plane.client.post(f"{D}/versions/{name}:{verb}"), 404, "NOT_FOUND")


def test_decisions_want_an_approver(plane, evidence) -> None:
    pending(plane, evidence)
    operator = bearer(plane.token("domain:read", "domain:write", "job:run"))
    for verb in ("approve", "reject", "archive"):
        refused(plane.client.post(f"{D}/versions/1:{verb}", headers=operator), 403, "FORBIDDEN")


def submitted(plane, token: str) -> str:
    job = plane.client.post(f"{D}/jobs", json={}, headers=bearer(token)).json()
    plane.settle(job["id"])
    return job["id"]


def test_with_four_eyes_the_submitter_does_not_let_the_version_serve(plane, evidence) -> None:
    plane.domain(four_eyes=True)
    ann, bob = (plane.token("domain:read", "job:run", "version:approve") for _ in range(2))
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    submitted(plane, ann)

    ways = (
        ("POST", f"{D}/versions/1:approve", {}),
        ("POST", f"{D}/versions/1:promote", {}),
        ("PUT", f"{D}/aliases/champion", {"version": 1}),
        ("PUT", f"{D}/route", {"canary": {"version": 1, "percent": 50}}),
    )
    for method, path, body in ways:
        detail = refused(plane.client.request(method, path, json=body, headers=bearer(ann)), 403, "FOUR_EYES")
        assert "another approver" in detail

    for path in (f"{D}/versions/1:approve", f"{D}/versions/1:promote"):
        assert plane.client.post(path, headers=bearer(bob)).is_success
    # It has served: the way back, and the way back from there, is open to both.
    for version in (0, 1):
        assert plane.client.post(f"{D}:rollback", headers=bearer(ann)).json()["version"] == version


def test_without_four_eyes_the_submitter_may_let_it_serve(plane, evidence) -> None:
    plane.domain()
    ann = plane.token("domain:read", "job:run", "version:approve")
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    submitted(plane, ann)

    for verb in ("approve", "promote"):
        assert plane.client.post(f"{D}/versions/1:{verb}", headers=bearer(ann)).is_success


def test_a_job_of_a_release_that_kept_the_actor_alone_is_its_actors(plane, evidence) -> None:
    plane.domain(four_eyes=True)
    ann, bob = (plane.token("domain:read", "job:run", "version:approve") for _ in range(2))
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    job = submitted(plane, ann)
    with plane.database.write() as state:
        state.jobs.save(replace(state.jobs.get("acme", job), asked_by=()))

    refused(plane.client.post(f"{D}/versions/1:approve", headers=bearer(ann)), 403, "FOUR_EYES")
    assert plane.client.post(f"{D}/versions/1:approve", headers=bearer(bob)).is_success


def test_submitter_may_withdraw_and_may_promote_the_source_model(plane, evidence) -> None:
    plane.domain(four_eyes=True)
    ann = plane.token("domain:read", "job:run", "version:approve")
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    submitted(plane, ann)

    assert plane.client.post(f"{D}/versions/0:promote", headers=bearer(ann)).is_success
    assert plane.client.post(f"{D}/versions/1:reject", headers=bearer(ann)).is_success


def test_four_eyes_are_taken_away_by_an_admin_only(plane) -> None:
    plane.domain()
    writer = bearer(plane.token("domain:write", "version:approve"))
    assert plane.client.patch(D, json={"gate": {"four_eyes": True}}, headers=writer).is_success

    reply = plane.client.patch(D, json={"gate": {"four_eyes": False}}, headers=writer)
    assert "by an admin" in refused(reply, 403, "FORBIDDEN")
    assert plane.client.patch(D, json={"gate": {"limits": {"max_drift": 0.5}}}, headers=writer).is_success
    assert plane.client.get(D).json()["gate"]["four_eyes"]
    assert plane.client.patch(D, json={"gate": {"four_eyes": False}}).json()["gate"]["four_eyes"] is False


def watched(plane, evidence) -> tuple[str, str]:
    """A domain with four eyes and no verdict to be had from the gate; the keys of two people who may do everything there."""
    plane.domain(four_eyes=True)
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    scopes = ("domain:read", "domain:write", "job:run", "version:approve")
    return plane.token(*scopes), plane.token(*scopes)


def assert_who_decides(plane, version: int, refused_to: list[str], allowed_to: str) -> None:
    for token in refused_to:
        for verb in ("approve", "promote"):
            reply = plane.client.post(f"{D}/versions/{version}:{verb}", headers=bearer(token))
            assert "set off the job" in refused(reply, 403, "FOUR_EYES")
    assert plane.client.post(f"{D}/versions/{version}:approve", headers=bearer(allowed_to)).is_success


def test_who_sets_a_schedule_sets_off_its_jobs(plane, evidence) -> None:
    ann, bob = watched(plane, evidence)
    schedule = {"cron": "0 * * * *", "on_drift": True, "recipe": {"steps": 7}}
    assert plane.client.patch(D, json={"schedule": schedule}, headers=bearer(ann)).is_success
    # Saying the same again does not make it somebody else's, nor does changing something else.
    assert plane.client.patch(D, json={"schedule": schedule, "description": "x"}, headers=bearer(bob)).is_success
    plane.clock.forward(3601)
    for _ in range(4):
        plane.reconciler.tick()
    assert plane.client.get(f"{D}/jobs").json()["jobs"][0]["actor"] == "schedule"
    assert_who_decides(plane, 1, [ann], bob)

    with plane.change() as tx:
        job = schedules.run_on_drift(tx, tx.state.domains.get("acme", "foggy-cams"))
    plane.settle(job.id)
    assert_who_decides(plane, 2, [ann], bob)


def test_who_runs_a_job_again_sets_it_off_with_who_ran_it_first(plane, evidence) -> None:
    ann, bob = watched(plane, evidence)
    job = submitted(plane, ann)
    again = plane.client.post(f"{D}/jobs/{job}:retry", headers=bearer(bob)).json()["id"]
    plane.settle(again)
    assert_who_decides(plane, 2, [ann, bob], plane.token("version:approve", "domain:read"))


def test_another_key_of_the_same_bearer_is_no_other_person(plane, evidence) -> None:
    ann, bob = watched(plane, evidence)
    submitted(plane, ann)
    newer = ann
    for _ in range(2):
        kid = newer.removeprefix("ak_").partition(".")[0]
        newer = plane.client.post(f"/v1/apiKeys/{kid}:rotate", json={"grace_s": 3600}).json()["token"]
    assert_who_decides(plane, 1, [ann, newer], bob)
