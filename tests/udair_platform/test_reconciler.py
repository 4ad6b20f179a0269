"""The loop makes wanted jobs happen, and settles each way in which they can end."""

from __future__ import annotations

import json
import threading
import time

import pytest
from structlog.testing import capture_logs

from udair_jobs.specs import AdaptResult, AdaptSpec
from udair_jobs.storage import StorageUnavailable
from udair_platform.entities.job import AttemptState, JobState
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.errors import LauncherDown, LeaseLost, NoCapacity
from udair_platform.scheduler.launcher import LaunchState
from udair_platform.services import jobs
from udair_platform.services.change import Change
from udair_platform.state.database import open_database


def attempts(plane, job) -> list[tuple[AttemptState, str | None]]:
    with plane.database.read() as state:
        return [(item.state, item.reason) for item in state.attempts.of_job("acme", job.id)]


def snapshot(plane, job):
    with plane.database.read() as state:
        return state.snapshots.get("acme", job.snapshot_id)


def cancel(plane, job) -> int:
    return plane.client.post(f"/v1/domains/-/jobs/{job.id}:cancel").status_code


def test_job_becomes_a_version_and_a_snapshot(plane) -> None:
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.version, job.progress_percent) == (JobState.SUCCEEDED, 1, 100)
    assert job.phases == [{"phase": "ADAPTING", "seconds": 1.5}]
    assert attempts(plane, job) == [(AttemptState.SUCCEEDED, None)]
    assert snapshot(plane, job).state is SnapshotState.ACTIVE
    assert snapshot(plane, job).summary["images"] == 40


def test_spec_says_what_was_asked_and_no_secret(plane, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-indeed")
    job = plane.submit(plane.domain())

    plane.reconciler.tick()

    text = plane.store.get(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/spec.json").decode()
    spec = AdaptSpec.model_validate_json(text)
    assert (spec.tenant, spec.domain, spec.job_id, spec.attempt) == ("acme", "foggy-cams", job.id, 1)
    assert (spec.source_uri, spec.base_digest) == ("s3://acme-photos/cams", "b" * 64)
    assert spec.recipe.steps == 3
    assert "secret" not in text
    assert plane.launcher.requests[0].submission_id == f"{job.id}-1"


def test_progress_is_shown_while_it_runs(plane) -> None:
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())

    plane.reconciler.tick()
    plane.reconciler.tick()

    job = plane.job(job.id)
    assert (job.state, job.phase, job.progress_percent) == (JobState.RUNNING, "ADAPTING", 40)
    assert job.metrics == {"loss": 0.5}
    assert plane.printed(job.id) == f"log of {job.id}-1\n"
    before = plane.job(job.id).row_version
    plane.reconciler.tick()
    assert plane.job(job.id).row_version == before  # no news, no write


@pytest.mark.parametrize("reason", ["TOO_FEW_IMAGES", "ACCESS_DENIED", "NAN_LOSS"])
def test_faults_of_the_data_are_not_tried_again(plane, reason: str) -> None:
    plane.launcher.script = [reason]
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.reason, job.detail) == (JobState.FAILED, reason, f"it was {reason}")
    assert attempts(plane, job) == [(AttemptState.FAILED, reason)]
    assert snapshot(plane, job).state is SnapshotState.FAILED


def test_faults_of_the_system_are_tried_again_until_attempts_are_spent(plane) -> None:
    plane.launcher.script = ["OOM", "vanish", "GPU_FAULT", "succeed"]
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.reason) == (JobState.FAILED, "GPU_FAULT")
    assert [reason for _, reason in attempts(plane, job)] == ["OOM", "NODE_LOST", "GPU_FAULT"]


def test_second_attempt_succeeds_and_the_first_cannot_any_more(plane) -> None:
    plane.launcher.script = ["vanish"]
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.attempt, job.version) == (JobState.SUCCEEDED, 2, 1)
    assert attempts(plane, job) == [(AttemptState.FAILED, "NODE_LOST"), (AttemptState.SUCCEEDED, None)]
    plane.launcher.finish(f"{job.id}-1")  # it was not dead after all
    first = plane.store.get(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/result.json")
    assert AdaptResult.model_validate_json(first).state == "FAILED"


def test_job_that_was_taken_down_by_others_spends_nothing(plane) -> None:
    plane.launcher.script = ["USER_CANCELLED"] * 5  # SIGTERM from whoever stops the cluster
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 6)
    assert {reason for _, reason in attempts(plane, job)} == {"PREEMPTED", None}


def test_full_cluster_is_waited_for(plane, monkeypatch) -> None:
    launch, refusals = plane.launcher.launch, []

    def refuse_four_times(request):
        if len(refusals) < 4:
            refusals.append(request)
            raise NoCapacity("no GPU is free")
        launch(request)

    monkeypatch.setattr(plane.launcher, "launch", refuse_four_times)
    job = plane.settle(plane.submit(plane.domain()).id)

    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 5)


def test_launcher_and_store_may_be_away_for_a_while(plane, monkeypatch) -> None:
    job = plane.submit(plane.domain())
    with monkeypatch.context() as away:
        away.setattr(plane.launcher, "launch", lambda _: (_ for _ in ()).throw(LauncherDown("gone")))
        plane.reconciler.tick()
    assert plane.job(job.id).state is JobState.PROVISIONING
    with monkeypatch.context() as away:
        away.setattr(type(plane.store), "put", lambda *_, **__: (_ for _ in ()).throw(StorageUnavailable("s", "gone")))
        plane.reconciler.tick()

    assert plane.settle(job.id).state is JobState.SUCCEEDED
    assert plane.launcher.launched == [f"{job.id}-1"]


def test_one_jobs_trouble_does_not_stop_the_others(plane, monkeypatch) -> None:
    domain = plane.domain()
    bad, good = plane.submit(domain), plane.submit(domain)
    launch = plane.launcher.launch

    def fail_for_bad(request):
        if request.submission_id.startswith(bad.id):
            raise ZeroDivisionError
        launch(request)

    monkeypatch.setattr(plane.launcher, "launch", fail_for_bad)

    assert plane.settle(good.id).state is JobState.SUCCEEDED
    assert plane.job(bad.id).state is JobState.PROVISIONING


def test_silent_job_expires_and_is_stopped(plane) -> None:
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.reconciler.tick()
    plane.clock.forward(301)
    plane.reconciler.tick()

    job = plane.job(job.id)
    assert (job.state, job.reason) == (JobState.EXPIRED, "HEARTBEAT_LOST")
    assert plane.launcher.stopped == [f"{job.id}-1"]


def test_job_that_nobody_starts_expires(make_plane) -> None:
    plane = make_plane(pending_timeout_s=600, max_concurrent_jobs=1)
    plane.launcher.script = ["pending"]
    domain = plane.domain()
    stuck, waiting = plane.submit(domain), plane.submit(domain)
    for _ in range(8):
        plane.reconciler.tick()
        plane.clock.forward(100)

    assert plane.job(stuck.id).reason == "PENDING_TIMEOUT"
    assert plane.job(waiting.id).state is JobState.EXPIRED


def test_result_that_cannot_be_read_is_a_fault_of_ours(plane) -> None:
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.store.put(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/result.json", b"{not json")

    assert plane.settle(job.id).state is JobState.SUCCEEDED
    assert attempts(plane, job)[0] == (AttemptState.FAILED, "CONTROLLER_ERROR")


def test_altered_candidate_is_never_registered(plane) -> None:
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.store.put(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/candidate/adapter.safetensors", b"something else")

    job = plane.settle(job.id)

    assert (job.state, job.attempt, job.version) == (JobState.SUCCEEDED, 2, 1)
    assert attempts(plane, job)[0] == (AttemptState.FAILED, "CONTROLLER_ERROR")


def test_damaged_progress_is_no_reason_to_stop(plane) -> None:
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.store.put(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/progress.json", b"\x00")
    plane.reconciler.tick()

    assert plane.job(job.id).state is JobState.RUNNING


def test_waiting_job_is_cancelled_at_once(plane) -> None:
    job = plane.submit(plane.domain())

    assert cancel(plane, job) == 200
    assert plane.job(job.id).state is JobState.CANCELLED
    assert snapshot(plane, job).state is SnapshotState.FAILED
    plane.reconciler.tick()
    assert plane.launcher.launched == []
    assert cancel(plane, job) == 200  # again: nothing to do


def test_running_job_is_stopped_and_then_cancelled(plane) -> None:
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.reconciler.tick()

    cancel(plane, job)
    assert plane.job(job.id).state is JobState.CANCELLING
    plane.reconciler.tick()

    assert plane.job(job.id).state is JobState.CANCELLED
    assert plane.launcher.stopped == [f"{job.id}-1"]
    plane.launcher.finish(f"{job.id}-1")
    plane.settle(job.id)
    with plane.database.read() as state:
        assert state.versions.page("acme", job.domain_id) == []


def test_job_that_cannot_be_stopped_is_called_cancelled_after_a_minute(plane) -> None:
    """Ray does not stop PENDING jobs; when such a job starts, it finds its result and ends."""
    plane.launcher.script = ["pending"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    cancel(plane, job)
    plane.reconciler.tick()
    assert plane.job(job.id).state is JobState.CANCELLING
    plane.clock.forward(61)
    plane.reconciler.tick()

    assert plane.job(job.id).state is JobState.CANCELLED
    result = json.loads(plane.store.get(f"t/acme/d/foggy-cams/jobs/{job.id}/attempts/1/result.json"))
    assert (result["state"], result["reason"]) == ("FAILED", "USER_CANCELLED")


def test_finished_job_cannot_be_cancelled(plane) -> None:
    job = plane.settle(plane.submit(plane.domain()).id)

    reply = plane.client.post(f"/v1/domains/-/jobs/{job.id}:cancel")

    assert (reply.status_code, reply.json()["code"]) == (409, "INVALID_STATE")


def test_snapshot_can_be_used_again(plane) -> None:
    domain = plane.domain()
    first = plane.settle(plane.submit(domain).id)
    again = plane.settle(plane.submit(domain, snapshot="latest").id)

    assert again.snapshot_id == first.snapshot_id
    assert again.version == 2


def test_jobs_beyond_the_room_wait_their_turn(make_plane) -> None:
    plane = make_plane(max_concurrent_jobs=1)
    plane.launcher.script = ["run"]
    domain = plane.domain()
    first, second = plane.submit(domain), plane.submit(domain)
    plane.reconciler.tick()
    plane.reconciler.tick()
    assert plane.job(second.id).state is JobState.QUEUED

    plane.launcher.finish(f"{first.id}-1")

    assert plane.settle(second.id).state is JobState.SUCCEEDED


def test_second_reconciler_waits_until_the_first_is_silent(plane) -> None:
    plane.reconciler.tick()
    other = plane.restarted()

    assert not other.tick()
    plane.clock.forward(16)
    assert other.tick()
    assert not plane.reconciler.tick()


def test_it_is_logged_who_holds_the_lease_and_whom_one_waits_for(plane) -> None:
    with capture_logs() as lines:
        assert plane.reconciler.tick()
        other = plane.restarted()
        assert not any(other.tick() for _ in range(3))
        plane.clock.forward(3600)
        assert other.tick()
    said = [(line["event"], line["holder"]) for line in lines if "lease" in line["event"]]
    first = plane.reconciler.holder
    assert said == [("lease taken", first), ("waiting for the lease", first), ("lease taken", other.holder)]


def test_released_lease_is_taken_at_once(plane) -> None:
    plane.reconciler.tick()
    plane.reconciler.release()

    assert plane.restarted().tick()


def test_sleeper_that_was_overtaken_writes_nothing(plane) -> None:
    """The first reconciler is paused inside a launch while the second takes over."""
    job = plane.submit(plane.domain())
    other = plane.restarted()
    launch = plane.launcher.launch

    def sleep_through_the_lease(request):
        plane.launcher.launch = launch
        launch(request)
        plane.clock.forward(16)
        assert other.tick()

    plane.launcher.launch = sleep_through_the_lease
    with pytest.raises(LeaseLost):
        plane.reconciler.tick()

    for _ in range(3):
        other.tick()
    assert plane.job(job.id).state is JobState.SUCCEEDED
    assert plane.launcher.launched == [f"{job.id}-1"]


def test_run_forever_ends_when_told_and_gives_the_lease_up(make_plane) -> None:
    plane = make_plane(reconcile_interval_s=0.01)
    job = plane.submit(plane.domain())
    stop = threading.Event()
    thread = threading.Thread(target=plane.reconciler.run_forever, args=[stop])
    thread.start()
    deadline = time.monotonic() + 20
    while not plane.job(job.id).done and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    thread.join(10)

    assert not thread.is_alive()
    assert plane.job(job.id).state is JobState.SUCCEEDED
    assert plane.restarted().tick()


def test_submission_by_another_process_wakes_a_reconciler_that_waits_for_an_hour(make_plane) -> None:
    plane = make_plane(reconcile_interval_s=3600)
    other = open_database(plane.settings.database_url)
    domain = plane.domain()
    stop = threading.Event()
    thread = threading.Thread(target=plane.reconciler.run_forever, args=[stop])
    thread.start()
    ended = []
    try:
        for _ in range(2):
            with other.write() as state:
                made = jobs.submit(Change(state, "test", plane.clock(), objects=plane.store), domain, recipe={})
            deadline = time.monotonic() + 60
            while not plane.job(made.id).done and time.monotonic() < deadline:
                time.sleep(0.02)
            ended.append(plane.job(made.id).state)
    finally:
        stop.set()
        thread.join(10)
        other.close()

    assert ended == [JobState.SUCCEEDED, JobState.SUCCEEDED]


def test_job_that_is_being_started_is_looked_at_again_before_the_interval_is_over(make_plane) -> None:
    plane = make_plane(reconcile_interval_s=3600)
    plane.launcher.script = ["pending"]
    job = plane.submit(plane.domain())
    stop = threading.Event()
    thread = threading.Thread(target=plane.reconciler.run_forever, args=[stop])
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not plane.launcher.launched and time.monotonic() < deadline:
            time.sleep(0.02)
        plane.launcher.finish(f"{job.id}-1")  # leaves no event
        while not plane.job(job.id).done and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join(10)

    assert plane.job(job.id).state is JobState.SUCCEEDED


def test_unknown_job_is_given_a_moment_and_then_tried_again(plane) -> None:
    """The cluster was replaced under us: it knows nothing of the attempt."""
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    plane.reconciler.tick()
    plane.launcher.states.clear()
    plane.reconciler.tick()
    assert plane.job(job.id).state is JobState.RUNNING  # its progress was seen
    plane.clock.forward(11)
    plane.reconciler.tick()

    job = plane.job(job.id)
    assert (job.state, job.reason) == (JobState.RECOVERING, "NODE_LOST")
    assert LaunchState.UNKNOWN not in plane.launcher.states.values()
