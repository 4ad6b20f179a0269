"""Once a budget is spent, what would begin waits; what runs and what is served goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spending import DECEMBER, put, served, submit, told, turn

from udair_platform.entities.job import JobState
from udair_platform.errors import NoCapacity
from udair_platform.scheduler.launcher import LaunchRequest
from udair_platform.services import jobs, metering
from udair_platform.services.schedules import SKIPPED


def test_schedules_are_stopped_with_a_word_and_go_on_by_themselves_when_the_limit_is_raised(plane) -> None:
    body = {"name": "night-cams", "source_uri": "s3://acme/cams", "schedule": {"cron": "0 * * * *"}}
    assert plane.client.post("/v1/domains", json=body).status_code == 201
    put(plane, images=10)
    served(plane, 10)
    for hour in (13, 14):
        plane.clock.now = datetime(2026, 11, 23, hour, 0, 1, tzinfo=UTC)
        plane.reconciler.tick()
    skipped = told(plane, SKIPPED)
    assert len(skipped) == 2
    assert "has spent its budget of November 2026" in skipped[0]["data"]["why"]
    assert plane.client.get("/v1/domains/night-cams/jobs").json()["jobs"] == []
    put(plane, images=11)
    plane.clock.now = datetime(2026, 11, 23, 15, 0, 1, tzinfo=UTC)
    plane.reconciler.tick()
    assert len(plane.client.get("/v1/domains/night-cams/jobs").json()["jobs"]) == 1
    served(plane, 11)
    plane.clock.now = DECEMBER + timedelta(seconds=1)
    plane.reconciler.tick()
    plane.reconciler.tick()
    assert len(plane.client.get("/v1/domains/night-cams/jobs").json()["jobs"]) == 2


def test_an_adaptation_on_drift_waits_for_the_budget_too(plane) -> None:
    body = {"name": "foggy-cams", "source_uri": "s3://acme/cams", "schedule": {"on_drift": True}}
    plane.client.post("/v1/domains", json=body)
    put(plane, images=10)
    served(plane, 10)
    drift = {"confirmed": True, "images": 64, "divergence": 0.4, "threshold": 0.1, "ended_time": "x"}
    served(plane, 10, drift=drift)
    assert "spent its budget" in told(plane, SKIPPED)[0]["data"]["why"]
    assert plane.client.get("/v1/domains/foggy-cams/jobs").json()["jobs"] == []
    plane.clock.now = DECEMBER + timedelta(days=1)
    served(plane, 12, drift=drift)  # it goes on drifting, which is told once a day
    assert len(plane.client.get("/v1/domains/foggy-cams/jobs").json()["jobs"]) == 1


def test_a_job_that_waits_is_held_however_long_and_goes_on_in_the_next_month(make_plane) -> None:
    plane = make_plane(max_concurrent_jobs=1, pending_timeout_s=3600)
    domain, other = plane.domain(), plane.domain("rainy-cams", tenant="globex")
    plane.launcher.script = ["run"]
    running = plane.submit(domain)
    plane.reconciler.tick()
    plane.reconciler.tick()
    waiting = plane.submit(domain)
    put(plane, images=10)
    served(plane, 10)
    plane.launcher.finish(f"{running.id}-1")
    turn(plane)
    assert plane.job(running.id).state is JobState.SUCCEEDED  # what runs is left alone
    held = plane.job(waiting.id)
    assert (held.state, held.reason) == (JobState.QUEUED, "BUDGET_SPENT")
    assert "10 of 10 images" in held.detail
    (event,) = [one for one in told(plane, "job.QUEUED") if one["data"]["reason"] == "BUDGET_SPENT"]
    assert (event["cause"], event["name"]) == ("budget", waiting.id)
    with plane.change() as tx:  # another tenant's jobs go by
        free = jobs.submit(tx, other, recipe={}).id
    turn(plane)
    turn(plane)
    with plane.database.read() as state:
        assert state.jobs.get("globex", free).done
    plane.clock.now = DECEMBER - timedelta(seconds=20)
    turn(plane)
    assert plane.job(waiting.id).state is JobState.QUEUED  # not expired, after a week
    plane.clock.now = DECEMBER
    assert plane.settle(waiting.id).state is JobState.SUCCEEDED


def test_a_held_job_starts_once_the_limit_is_raised_or_can_be_cancelled(plane) -> None:
    domain = plane.domain()
    first, second = plane.submit(domain), plane.submit(domain)
    put(plane, images=10)
    report = {"replica": "r", "time": plane.clock().timestamp(), "domains": {}, "tenants": {}}
    report["tenants"] = {"acme": {"images": 10, "forward_s": 0.0}}
    with plane.change() as tx:
        metering.add(tx, report)
    turn(plane)
    assert {plane.job(job.id).reason for job in (first, second)} == {"BUDGET_SPENT"}
    assert plane.client.post(f"/v1/domains/-/jobs/{second.id}:cancel").json()["state"] == "CANCELLED"
    plane.client.delete("/v1/budget")
    assert plane.settle(first.id).state is JobState.SUCCEEDED


def test_a_job_that_has_begun_is_tried_again_to_its_end(plane) -> None:
    domain = plane.domain()
    plane.launcher.script = ["vanish"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    plane.reconciler.tick()
    recovering = plane.job(job.id)
    put(plane, images=10)
    served(plane, 10)
    begun = recovering.started_time is not None
    assert (recovering.state, begun) == (JobState.RECOVERING, True)
    assert plane.settle(job.id).state is JobState.SUCCEEDED


def test_a_job_whose_tries_never_ran_is_held_as_one_that_waits(plane, monkeypatch) -> None:
    job = plane.submit(plane.domain())
    put(plane, images=10)

    def full(request: LaunchRequest) -> None:
        raise NoCapacity("no room")

    with monkeypatch.context() as patched:
        patched.setattr(plane.launcher, "launch", full)
        served(plane, 10)
    assert (plane.job(job.id).state, plane.job(job.id).reason) == (JobState.RECOVERING, "NO_CAPACITY")
    turn(plane)
    assert (plane.job(job.id).state, plane.job(job.id).reason) == (JobState.RECOVERING, "BUDGET_SPENT")
    put(plane, images=11)
    assert plane.settle(job.id).state is JobState.SUCCEEDED


def test_serving_goes_on_when_the_budget_is_spent(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    assert plane.client.post("/v1/domains/foggy-cams/versions/1:promote", json={}).status_code == 200
    before = plane.store.get("serving/routes.json")
    put(plane, images=10)
    served(plane, 10)
    turn(plane)
    assert submit(plane).status_code == 409
    assert plane.store.get("serving/routes.json") == before
    assert plane.client.post("/v1/domains/foggy-cams:rollback", json={}).status_code == 200  # decisions go on, too
