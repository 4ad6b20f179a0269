"""Budgets of a month: what is counted, when a limit is spent, and what is told of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from spending import DECEMBER, got, put, served, submit, told, turn, used

from udair_platform.entities.job import JobState
from udair_platform.services import metering
from udair_platform.state.repositories import ALL_TENANTS


def test_a_limit_is_spent_when_it_is_reached_and_not_before(plane) -> None:
    plane.domain()
    put(plane, images=1000)
    served(plane, 999)
    assert (got(plane)["state"], used(plane)["images"]) == ("warned", 999)
    assert submit(plane).status_code == 202
    served(plane, 1000)
    assert got(plane)["state"] == "spent"
    refused = submit(plane)
    assert (refused.status_code, refused.json()["code"]) == (409, "BUDGET_SPENT")
    assert refused.json()["detail"] == (
        "Tenant 'acme' has spent its budget of November 2026 (UTC): 1000 of 1000 images. Images are restored as before; "
        "no new job starts until 2026-12-01 00:00 UTC, when the next month begins, or until an admin of the tenant or "
        "the platform's operator raises the limit: `udair budget set --images N`."
    )


def test_an_ended_job_is_not_run_again_once_the_budget_is_spent(plane) -> None:
    job = plane.settle(plane.submit(plane.domain()).id)
    put(plane, images=10)
    served(plane, 10)
    again = plane.client.post(f"/v1/domains/foggy-cams/jobs/{job.id}:retry")
    assert (again.status_code, again.json()["code"]) == (409, "BUDGET_SPENT")
    put(plane, images=11)
    assert plane.client.post(f"/v1/domains/foggy-cams/jobs/{job.id}:retry").status_code == 202


def test_a_request_that_is_repeated_has_its_job_though_the_budget_is_spent_meanwhile(plane) -> None:
    plane.domain()
    put(plane, images=10)
    headers = {"Idempotency-Key": "once"}
    first = plane.client.post("/v1/domains/foggy-cams/jobs", json={}, headers=headers)
    served(plane, 10)
    assert plane.client.post("/v1/domains/foggy-cams/jobs", json={}, headers=headers).json()["id"] == first.json()["id"]


def test_what_was_spent_is_of_the_month(plane) -> None:
    plane.domain()
    put(plane, images=100)
    served(plane, 100)
    assert submit(plane).status_code == 409
    plane.clock.now = DECEMBER - timedelta(seconds=1)
    assert submit(plane).status_code == 409
    plane.clock.now = DECEMBER
    assert (got(plane)["state"], used(plane)["images"]) == ("open", 0)
    assert got(plane)["from_time"] == "2026-12-01T00:00:00Z"
    assert got(plane)["to_time"] == "2027-01-01T00:00:00Z"
    assert submit(plane).status_code == 202
    served(plane, 130)  # the same replica counts on
    assert used(plane)["images"] == 30


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-11-30T23:59:59+00:00", "2026-11-01", "2026-12-01"),
        ("2026-12-31T12:00:00+00:00", "2026-12-01", "2027-01-01"),
        ("2028-02-29T00:00:00+00:00", "2028-02-01", "2028-03-01"),
        ("2026-12-01T01:00:00+02:00", "2026-11-01", "2026-12-01"),  # still November in UTC
    ],
)
def test_a_month_is_the_calendars_in_utc(now, start, end) -> None:
    found = metering.month_of(datetime.fromisoformat(now))
    assert [f"{time:%Y-%m-%d}" for time in found] == [start, end]


def test_a_report_counts_once_whoever_reads_it_and_a_replica_that_went_stays_counted(plane) -> None:
    plane.domain()
    served(plane, 40, 4.0)
    plane.reconciler.release()
    plane.reconciler = plane.restarted(holder="another")
    turn(plane)
    turn(plane)
    assert used(plane)["images"] == 40
    served(plane, 45, 4.5)
    served(plane, 7, 0.5, replica="r2")
    plane.store.delete("serving/reports/r1.json")
    turn(plane)
    assert used(plane)["images"] == 52
    served(plane, 3, tenant="globex", replica="r3")
    served(plane, 3, tenant="nobody", replica="r4")
    assert used(plane)["images"] == 52


def test_a_report_adds_to_the_tenants_that_had_something_and_are_known_here(plane) -> None:
    def count(**tenants: tuple[int, float]) -> dict[str, tuple[int, float]]:
        told = {name: {"images": images, "forward_s": seconds} for name, (images, seconds) in tenants.items()}
        with plane.change() as tx:
            metering.add(tx, {"replica": "r1", "time": plane.clock().timestamp(), "tenants": told})
            return tx.state.served_months.in_month(ALL_TENANTS, "2026-11")

    assert count(acme=(5, 0.5), nobody=(9, 0.9)) == {"acme": (5, 0.5)}
    assert count(acme=(5, 0.5), globex=(3, 0.25)) == {"acme": (5, 0.5), "globex": (3, 0.25)}
    assert count(acme=(4, 0.25), globex=(4, 0.5)) == {"acme": (5, 0.5), "globex": (4, 0.5)}
    assert metering.counts_of({"replica": "of an older release"}) == {}


def test_an_idle_replica_is_remembered_and_one_that_went_is_forgotten_after_a_week(plane) -> None:
    plane.domain()
    served(plane, 40)
    for replica, days, kept in (("r2", 6.5, True), ("r3", 7.5, False)):
        served(plane, 5, replica=replica)
        plane.store.delete(f"serving/reports/{replica}.json")
        plane.clock.forward(days * 86_400)
        served(plane, 40)
        with plane.database.read() as state:
            assert state.served_months.read_until("r1") == {"acme": (40, 0.0)}
            assert bool(state.served_months.read_until(replica)) is kept
    assert used(plane)["images"] == 0  # December: nothing is counted anew


def test_job_time_is_counted_in_its_month_and_while_it_runs(plane) -> None:
    domain = plane.domain()
    plane.clock.now = DECEMBER - timedelta(hours=1)
    plane.launcher.script = ["run"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    plane.reconciler.tick()
    assert plane.job(job.id).state is JobState.RUNNING
    plane.clock.forward(1800)
    assert used(plane) == {"images": 0, "job_s": 1800, "money": 0}
    plane.clock.now = DECEMBER + timedelta(minutes=5)
    assert used(plane)["job_s"] == 300  # of an hour and five minutes
    plane.launcher.finish(f"{job.id}-1")
    plane.reconciler.tick()
    plane.clock.forward(3600)
    assert plane.job(job.id).state is JobState.SUCCEEDED
    assert used(plane)["job_s"] == 300
    put(plane, job_s=300.5)
    assert submit(plane).status_code == 202
    put(plane, job_s=300)
    assert "0.0833 of 0.0833 h of jobs" in submit(plane).json()["detail"]


def test_money_is_what_jobs_and_model_time_cost(make_plane) -> None:
    plane = make_plane(price_per_job_hour=2.0, price_per_model_hour=36.0, price_currency="EUR")
    plane.domain()
    assert used(plane) == {"images": 0, "job_s": 0, "money": 0}
    put(plane, money=1.0, images=1000)
    served(plane, 5, 99.0)
    assert (used(plane)["money"], got(plane)["state"], got(plane)["currency"]) == (0.99, "warned", "EUR")
    assert [(event["kind"], event["data"]["item"]) for event in told(plane)] == [("budget.warned", "money")]
    served(plane, 6, 100.0)
    assert "1.00 of 1.00 EUR" in submit(plane).json()["detail"]


def test_a_job_costs_its_time_and_nothing_that_was_not_restored(make_plane) -> None:
    plane = make_plane(price_per_job_hour=2.0, price_per_model_hour=1e9)
    plane.launcher.script = ["run"]
    plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.reconciler.tick()
    plane.clock.forward(1800)
    assert used(plane)["money"] == 1.0


def test_money_without_prices_is_refused(plane) -> None:
    reply = plane.client.put("/v1/budget", json={"money": 5})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/money")
    assert "UDAIR_PRICE_PER_JOB_HOUR" in reply.json()["detail"]


@pytest.mark.parametrize(
    "body", [{"images": 0}, {"images": 1.5}, {"job_s": -1}, {"warn_share": 0}, {"warn_share": 1.1}, {"gpus": 3}]
)
def test_a_budget_that_is_none_is_refused(plane, body) -> None:
    reply = plane.client.put("/v1/budget", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "VALIDATION_FAILED")
    assert got(plane)["images"] is None


def test_a_limit_is_warned_of_once_and_told_once_when_it_is_spent(plane) -> None:
    plane.domain()
    put(plane, images=10, job_s=100, warn_share=0.5)
    served(plane, 4)
    assert told(plane) == []
    served(plane, 5)
    turn(plane)
    served(plane, 6)
    (warned,) = told(plane)
    assert (warned["kind"], warned["noun"], warned["name"]) == ("budget.warned", "budget", "acme")
    assert warned["data"] == {
        "item": "images",
        "used": 5,
        "limit": 10,
        "state": "warned",
        "warn_share": 0.5,
        "month": "2026-11",
        "until": "2026-12-01T00:00:00+00:00",
    }
    served(plane, 12)
    turn(plane)
    assert [event["kind"] for event in told(plane)] == ["budget.warned", "budget.spent"]
    put(plane, images=20, job_s=100, warn_share=0.5)
    turn(plane)
    assert [event["data"]["limit"] for event in told(plane, "budget.warned")] == [10, 20]
    plane.clock.now = DECEMBER
    served(plane, 17)
    assert (len(told(plane)), used(plane)["images"]) == (3, 5)
    served(plane, 23)
    assert told(plane)[-1]["data"]["month"] == "2026-12"


def test_changes_are_in_the_audit_log_and_only_changes(plane) -> None:
    put(plane, images=10)
    put(plane, images=10)
    plane.client.delete("/v1/budget")
    made, cleared = told(plane, "budget.set", "budget.cleared")
    assert (made["data"]["before"]["images"], made["data"]["now"]["images"]) == (None, 10)
    assert made["actor"].startswith("key:")
    assert (made["kind"], cleared["kind"]) == ("budget.set", "budget.cleared")
    assert got(plane)["state"] == "open"


def test_a_tenant_neither_sees_nor_sets_anothers_budget(plane) -> None:
    plane.domain()
    put(plane, images=10)
    served(plane, 10)
    auth = {"Authorization": f"Bearer {plane.token('admin', tenant='globex')}"}
    assert (got(plane, **auth)["images"], got(plane, **auth)["state"]) == (None, "open")
    assert [item["used"] for item in got(plane, **auth)["items"]] == [0, 0, 0]
    assert plane.client.put("/v1/budget", json={"images": 99}, headers=auth).status_code == 200
    assert plane.client.delete("/v1/budget", headers=auth).status_code == 200
    assert (got(plane)["images"], got(plane)["state"]) == (10, "spent")
    assert plane.client.get("/v1/attention", headers=auth).json()["concerns"] == []


def test_only_an_admin_sets_it_and_readers_read_it(plane) -> None:
    for scope in ("domain:read", "domain:write", "job:run", "version:approve"):
        auth = {"Authorization": f"Bearer {plane.token(scope)}"}
        assert plane.client.put("/v1/budget", json={"images": 9}, headers=auth).status_code == 403
        assert plane.client.delete("/v1/budget", headers=auth).status_code == 403
    auth = {"Authorization": f"Bearer {plane.token('domain:read')}"}
    assert plane.client.get("/v1/budget", headers=auth).status_code == 200
