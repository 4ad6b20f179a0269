"""Nothing waits for ever: each state rests or has a timeout, and the reconciler enforces each timeout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.entities import domain, job, machine, snapshot, version, webhook
from udair_platform.entities.job import AttemptState, JobState
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.entities.version import VersionState
from udair_platform.errors import LauncherDown
from udair_platform.scheduler.state_timeouts import TIMEOUTS, NoTimeout, StateTimeouts, timeouts_of
from udair_platform.settings import Settings

TABLES = [
    domain.TRANSITIONS,
    snapshot.TRANSITIONS,
    job.JOB_TRANSITIONS,
    job.ATTEMPT_TRANSITIONS,
    version.TRANSITIONS,
    webhook.TRANSITIONS,
]
TABLE_OF = {type(next(iter(table))): table for table in TABLES}
AWAITED = [state for waits in TIMEOUTS.values() for state, wait in waits.items() if isinstance(wait, StateTimeouts)]


def called(state) -> str:
    return f"{type(state).__name__}.{state}"


def test_every_state_that_is_not_final_says_what_ends_it() -> None:
    assert set(TIMEOUTS) == set(TABLE_OF)
    for noun, table in TABLE_OF.items():
        assert set(TIMEOUTS[noun]) == set(noun) - machine.terminal(table)


@pytest.mark.parametrize("state", AWAITED, ids=called)
def test_every_timeout_is_a_setting_and_leads_where_the_table_allows(state) -> None:
    wait = timeouts_of(state)

    assert wait.timeouts
    assert {timeout.setting for timeout in wait.timeouts} <= set(Settings.model_fields)
    assert wait.then in TABLE_OF[type(state)][state]


@given(st.sampled_from(TABLES), st.data())
def test_any_walk_ends_in_a_final_state_or_in_one_that_rests_if_time_runs_out(table, data) -> None:
    """Walk at random; then only wait: every wait that runs out leads on, and none goes round in circles."""
    current = data.draw(st.sampled_from(list(table)))
    for _ in range(data.draw(st.integers(0, 8))):
        if not table[current]:
            break
        step = data.draw(st.sampled_from(sorted(table[current])))
        machine.check("Noun", "n", table, current, step)
        current = step
    seen = set()
    while isinstance(wait := timeouts_of(current), StateTimeouts):
        assert current not in seen
        seen.add(current)
        machine.check("Noun", "n", table, current, wait.then)
        current = wait.then
    assert timeouts_of(current) in (None, NoTimeout.RESTING, NoTimeout.MOMENTARY)


SHORT = {
    "pending_timeout_s": 100,
    "run_timeout_s": 1000,
    "heartbeat_timeout_s": 200,
    "cancel_timeout_s": 60,
    "approval_timeout_s": 3600,
}


def bring_to(plane, state) -> tuple[str, str]:
    """A job that is, or whose attempt or snapshot is, in `state`, and what it is called."""
    foggy = plane.domain()
    stuck = {JobState.PROVISIONING: "pending", AttemptState.LAUNCHED: "pending"}
    plane.launcher.script = [stuck.get(state, "vanish" if state is JobState.RECOVERING else "run")]
    if state in (JobState.QUEUED, SnapshotState.SCANNING):
        plane.submit(foggy)  # takes the only room
        plane.reconciler.tick()
        return plane.submit(foggy).id, foggy.id
    made = plane.submit(foggy)
    if state is AttemptState.PENDING:
        plane.launcher.launch = _nothing_is_launched
    plane.reconciler.tick()
    if state in (JobState.RUNNING, AttemptState.RUNNING, JobState.CANCELLING):
        plane.reconciler.tick()
    if state is JobState.RECOVERING:
        plane.clock.forward(11)
        plane.reconciler.tick()
        # Its next attempt finds no room, for longer than anybody waits.
        with plane.database.write() as writing:
            waiting = writing.jobs.get("acme", made.id)
            writing.jobs.save(replace(waiting, not_before=plane.clock.now.replace(year=2100)))
    if state is JobState.CANCELLING:
        plane.launcher.stop = lambda submission_id: None
        assert plane.client.post(f"/v1/domains/-/jobs/{made.id}:cancel").status_code == 200
        plane.reconciler.tick()
    return made.id, foggy.id


def _nothing_is_launched(request) -> None:
    raise LauncherDown("away")


def state_of(plane, state, job_id: str, domain_id: str):
    with plane.database.read() as reading:
        made = reading.jobs.get("acme", job_id)
        if isinstance(state, JobState):
            return made.state
        if isinstance(state, AttemptState):
            return reading.attempts.of_job("acme", job_id)[0].state
        if isinstance(state, SnapshotState):
            return reading.snapshots.get("acme", made.snapshot_id).state
        return reading.versions.get("acme", domain_id, 1).state


@pytest.mark.parametrize("state", [one for one in AWAITED if not isinstance(one, VersionState)], ids=called)
def test_reconciler_ends_the_wait(make_plane, state) -> None:
    plane = make_plane(**SHORT, max_concurrent_jobs=1)
    names = bring_to(plane, state)
    assert state_of(plane, state, *names) is state

    plane.clock.forward(
        max(SHORT[one.setting] for one in timeouts_of(state).timeouts if one.setting != "run_timeout_s") + 1
    )
    plane.reconciler.tick()

    assert state_of(plane, state, *names) is timeouts_of(state).then


def test_job_that_writes_progress_for_ever_ends_too(make_plane) -> None:
    plane = make_plane(**SHORT)
    plane.launcher.script = ["run"]
    made = plane.submit(plane.domain())
    for _ in range(12):
        plane.reconciler.tick()
        plane.clock.forward(100)
        with plane.database.write() as state:
            for attempt in state.attempts.of_job("acme", made.id):
                if attempt.state is AttemptState.RUNNING:
                    state.attempts.save(replace(attempt, heartbeat_seen_time=plane.clock()))

    assert (plane.job(made.id).state, plane.job(made.id).reason) == (JobState.EXPIRED, "RUN_TIMEOUT")


def test_version_that_nobody_approves_is_rejected_with_an_event(make_plane, evidence) -> None:
    plane = make_plane(**SHORT)
    foggy = plane.domain()
    number = plane.version(foggy, evidence["INCONCLUSIVE"])
    plane.clock.forward(3599)
    plane.reconciler.tick()
    with plane.database.read() as state:
        assert state.versions.get("acme", foggy.id, number).state is VersionState.PENDING_APPROVAL

    plane.clock.forward(2)
    plane.reconciler.tick()

    with plane.database.read() as state:
        assert state.versions.get("acme", foggy.id, number).state is VersionState.REJECTED
        last = state.events.page("acme", noun="version", size=1000)[-1]
    assert (last.kind, last.actor, last.cause) == ("version.REJECTED", "reconciler", "not approved within 3600 s")
    reply = plane.client.post(f"/v1/domains/{foggy.name}/versions/{number}:promote")
    assert (reply.status_code, reply.json()["code"]) == (409, "GATE_REJECTED")


def test_version_that_was_approved_in_time_stays(make_plane, evidence) -> None:
    plane = make_plane(**SHORT)
    foggy = plane.domain(allow_inconclusive=True)
    number = plane.version(foggy, evidence["INCONCLUSIVE"])
    assert plane.client.post(f"/v1/domains/{foggy.name}/versions/{number}:promote").status_code == 200
    plane.clock.forward(5000)
    plane.reconciler.tick()

    with plane.database.read() as state:
        assert state.versions.get("acme", foggy.id, number).state is VersionState.ACTIVE
