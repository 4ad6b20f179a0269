"""What starts, what is tried again, and when to give up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_jobs.specs import RETRY_CLASS
from udair_platform.entities.job import HELD, Attempt, AttemptState, Job, JobState, Priority
from udair_platform.scheduler import policy
from udair_platform.scheduler.state_timeouts import missed
from udair_platform.settings import load_settings

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REASONS = sorted(RETRY_CLASS)


def job(seq: int, state: JobState = JobState.QUEUED, tenant: str = "acme", age_s: float = 0.0, **fields) -> Job:
    then = NOW - timedelta(seconds=age_s)
    return Job(f"j-{seq}", tenant, "d-1", "s-1", "b", "d", "u", "me", then, then, state=state, seq=seq, **fields)


def attempt(number: int, reason: str | None = None, **fields) -> Attempt:
    return Attempt("j-1", "acme", number, f"j-1-{number}", "/o", NOW, reason=reason, **fields)


def admitted(*jobs: Job, room: int = 2, **limits: int) -> list[str]:
    return [item.id for item in policy.admit(jobs, now=NOW, max_concurrent=room, most_of=limits.get)]


def test_oldest_first_up_to_the_room_there_is() -> None:
    assert admitted(job(3), job(1), job(2)) == ["j-1", "j-2"]
    assert admitted(job(1, JobState.RUNNING), job(2, JobState.CANCELLING), job(3)) == []


@pytest.mark.parametrize("state", [JobState.PROVISIONING, JobState.RUNNING, JobState.CANCELLING])
def test_what_is_under_way_takes_room(state: JobState) -> None:
    assert admitted(job(1, state), job(2), job(3)) == ["j-2"]


def test_a_tenant_may_run_as_many_as_its_limit_says() -> None:
    one_runs = [job(1, JobState.RUNNING), *(job(seq) for seq in (2, 3, 4))]
    assert admitted(*one_runs, room=9, acme=3) == ["j-2", "j-3"]
    assert admitted(*one_runs, room=9, acme=1) == []
    assert admitted(*one_runs, room=9, globex=0) == ["j-2", "j-3", "j-4"]


def test_of_tenants_that_run_as_many_the_older_wish_goes_first() -> None:
    assert admitted(job(5, priority=Priority.HIGH), job(1, tenant="globex"), room=1) == ["j-1"]
    running = job(9, JobState.RUNNING, tenant="globex")
    assert admitted(job(1), job(2), job(3, tenant="globex"), running, room=3) == ["j-1", "j-2"]


def test_a_job_that_is_held_for_its_tenants_budget_is_left_out_and_one_that_has_begun_is_not() -> None:
    held = job(1, reason=HELD)
    assert admitted(held, job(2, JobState.RECOVERING, reason=HELD), job(3)) == ["j-3"]
    assert admitted(job(4, JobState.RECOVERING, reason=HELD, started_time=NOW)) == ["j-4"]
    settings = load_settings(pending_timeout_s=60)
    assert missed(held, now=NOW + timedelta(days=31), settings=settings) is None
    assert missed(replace(held, reason=None), now=NOW + timedelta(days=31), settings=settings) is not None


def test_tenants_take_turns() -> None:
    assert admitted(job(1), job(2), job(3, tenant="globex"), room=2) == ["j-1", "j-3"]
    assert admitted(job(1, JobState.RUNNING), job(2), job(3, tenant="globex"), room=2) == ["j-3"]


def test_retry_waits_for_its_time() -> None:
    later = job(1, JobState.RECOVERING, not_before=NOW + timedelta(seconds=1))
    due = job(2, JobState.RECOVERING, not_before=NOW)

    assert admitted(later, due) == ["j-2"]


@given(
    st.lists(st.tuples(st.sampled_from(list(JobState)), st.sampled_from(["a-b", "c-d", "e-f"])), max_size=30),
    st.integers(1, 5),
)
def test_room_is_never_exceeded_and_never_wasted(states: list[tuple[JobState, str]], room: int) -> None:
    jobs = [job(seq, state, tenant) for seq, (state, tenant) in enumerate(states)]
    busy = sum(j.state in policy.BUSY for j in jobs)
    waiting = sum(j.state in policy._WAITING for j in jobs)

    assert len(admitted(*jobs, room=room)) == max(0, min(room - busy, waiting))


def test_the_more_urgent_goes_first_and_waiting_makes_urgent():
    low, normal, high = job(1, priority=Priority.LOW), job(2), job(3, priority=Priority.HIGH)
    assert admitted(low, normal, high, room=3) == ["j-3", "j-2", "j-1"]
    four_hours = 4 * 3600
    for steps, first in ((1.9, "j-3"), (2, "j-3"), (3, "j-4")):
        old = job(4, priority=Priority.LOW, age_s=steps * four_hours)
        assert admitted(high, old, room=1) == [first], steps
    for age_s, first in ((four_hours - 1, "j-5"), (four_hours, "j-6")):  # a step is a step when its time is full
        assert admitted(job(5), job(6, age_s=age_s), room=1) == [first]


def test_urgency_takes_nothing_from_other_tenants():
    mine = [job(seq, priority=Priority.HIGH) for seq in range(1, 5)]
    assert admitted(*mine, job(9, tenant="globex", priority=Priority.LOW), room=2) == ["j-1", "j-9"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(JobState)), st.sampled_from(["acme", "globex"]), st.sampled_from(list(Priority))
        ),
        max_size=30,
    ),
    st.integers(1, 8),
    st.integers(0, 4),
)
def test_a_tenants_limit_is_never_exceeded_and_room_is_not_wasted(states, room, most):
    jobs = [job(seq, state, tenant, priority=priority) for seq, (state, tenant, priority) in enumerate(states)]
    chosen = set(admitted(*jobs, room=room, acme=most))
    for tenant, limit in (("acme", most), ("globex", None)):
        mine = [one for one in jobs if one.tenant == tenant]
        busy = sum(one.state in policy.BUSY for one in mine)
        started = sum(one.id in chosen for one in mine)
        waiting = sum(one.state in policy._WAITING for one in mine)
        if limit is not None:
            assert started == 0 or busy + started <= limit
        else:
            all_busy = sum(one.state in policy.BUSY for one in jobs)
            assert started == waiting or len(chosen) + all_busy >= room


@pytest.mark.parametrize("reason", REASONS)
def test_first_failure_of_each_reason(reason: str) -> None:
    decision = policy.after_failure(reason, [attempt(1)], now=NOW, max_attempts=3)

    expected = {
        "USER": JobState.FAILED,
        "NUMERIC": JobState.FAILED,
        "DEADLINE": JobState.EXPIRED,
        "SYSTEM": JobState.RECOVERING,
        "CAPACITY": JobState.RECOVERING,
    }
    assert decision.state is expected[RETRY_CLASS[reason]]


def test_system_faults_spend_attempts_and_capacity_does_not() -> None:
    def after(*reasons: str) -> JobState:
        attempts = [attempt(n, reason) for n, reason in enumerate(reasons, 1)]
        return policy.after_failure(reasons[-1], attempts, now=NOW, max_attempts=3).state

    assert after("OOM", "NODE_LOST") is JobState.RECOVERING
    assert after("OOM", "NODE_LOST", "OOM") is JobState.FAILED
    assert after("OOM", "PREEMPTED", "NO_CAPACITY", "OOM") is JobState.RECOVERING
    assert after("OOM", "NODE_LOST", "PREEMPTED") is JobState.RECOVERING  # one attempt is left, and it spends none
    assert after(*["PREEMPTED"] * 50) is JobState.RECOVERING


def test_room_that_is_never_found_is_not_waited_for_for_ever() -> None:
    def after(hours: float, **last) -> JobState:
        attempts = [attempt(1, "NO_CAPACITY"), attempt(2, "QUOTA_EXCEEDED"), attempt(3, "NO_CAPACITY", **last)]
        now = NOW + timedelta(hours=hours)
        return policy.after_failure("NO_CAPACITY", attempts, now=now, max_attempts=3, pending_timeout_s=24 * 3600).state

    assert after(23) is JobState.RECOVERING
    assert after(24) is JobState.RECOVERING
    assert after(25) is JobState.EXPIRED
    assert after(25, heartbeat_seen_time=NOW) is JobState.RECOVERING  # it found some, and lost it


def test_only_a_search_for_room_is_given_up_for_its_length() -> None:
    attempts, late = [attempt(1, "NO_CAPACITY"), attempt(2, "OOM")], NOW + timedelta(hours=25)
    decision = policy.after_failure("OOM", attempts, now=late, max_attempts=3, pending_timeout_s=24 * 3600)

    assert decision.state is JobState.RECOVERING
    assert decision.not_before == late + timedelta(seconds=2)


def test_an_attempt_that_has_no_reason_was_no_failure() -> None:
    attempts = [attempt(1), attempt(2), attempt(3, "OOM")]
    assert policy.after_failure("OOM", attempts, now=NOW, max_attempts=3).state is JobState.RECOVERING


def test_unknown_reason_is_taken_for_a_fault_of_ours() -> None:
    assert policy.retry_class("SOMETHING_NEW") == "SYSTEM"


def test_backoff_grows_to_a_minute() -> None:
    assert [policy.backoff_s(n) for n in (1, 2, 3, 7, 8, 10_000)] == [1, 2, 4, 60, 60, 60]


def test_deadlines_of_an_attempt(tmp_path) -> None:
    settings = load_settings(home=tmp_path, pending_timeout_s=100, run_timeout_s=1000, heartbeat_timeout_s=10)

    def late(seconds: float, **fields) -> str | None:
        found = missed(attempt(1, **fields), now=NOW + timedelta(seconds=seconds), settings=settings)
        return found and found[0]

    running = {"launched_time": NOW, "state": AttemptState.RUNNING}
    assert late(99) is None
    assert late(101) == "PENDING_TIMEOUT"
    assert late(101, launched_time=NOW, state=AttemptState.LAUNCHED) == "PENDING_TIMEOUT"
    assert late(9, **running) is None
    assert late(11, **running) == "HEARTBEAT_LOST"
    assert late(900, **running, heartbeat_seen_time=NOW + timedelta(seconds=895)) is None
    assert late(1001, **running, heartbeat_seen_time=NOW + timedelta(seconds=1000)) == "RUN_TIMEOUT"
    assert missed(job(1), now=NOW + timedelta(seconds=101), settings=settings)
    assert not missed(replace(job(1), updated_time=NOW), now=NOW, settings=settings)
