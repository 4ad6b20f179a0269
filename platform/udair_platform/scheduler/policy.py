"""What to start, what to try again, and when to give up. Pure functions of what is known."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from udair_jobs.specs import RETRY_CLASS, Reason, RetryClass
from udair_platform.entities.job import Attempt, Job, JobState, Priority

BUSY = (JobState.PROVISIONING, JobState.RUNNING, JobState.CANCELLING)
_WAITING = (JobState.QUEUED, JobState.RECOVERING)
_STEPS = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}
AGING_S = 4 * 3600.0
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True)
class RetryDecision:
    """What follows a failed attempt: a state, and the time before which nothing is tried."""

    state: JobState
    not_before: datetime | None = None


def admit(
    jobs: Sequence[Job], *, now: datetime, max_concurrent: int, most_of: Callable[[str], int | None] = lambda _: None
) -> list[Job]:
    """Those of the waiting `jobs` that may start now.

    Tenants take turns, whoever runs fewest first. Within a tenant the more urgent and then the older go
    first; a job becomes one step more urgent with every `AGING_S` that it waits, so that none waits for ever. Those
    that are held for their tenant's budget are left out.

    Args:
        most_of: How many of a tenant's jobs may run at once; None is no limit.
    """
    free = max_concurrent - sum(job.state in BUSY for job in jobs)
    queues: dict[str, deque[Job]] = {}
    for job in sorted(jobs, key=lambda job: (-_urgency(job, now), job.seq)):
        if job.state in _WAITING and not job.held and (job.not_before is None or job.not_before <= now):
            queues.setdefault(job.tenant, deque()).append(job)
    # A tenant that already runs many waits behind one that runs few.
    running = {tenant: sum(job.tenant == tenant and job.state in BUSY for job in jobs) for tenant in queues}
    admitted: list[Job] = []

    def full(tenant: str) -> bool:
        most = most_of(tenant)
        return most is not None and running[tenant] >= most

    while len(admitted) < free:
        for tenant in [name for name in queues if full(name)]:
            del queues[tenant]
        if not queues:
            break
        tenant = min(queues, key=lambda name: (running[name], queues[name][0].seq))
        admitted.append(queues[tenant].popleft())
        running[tenant] += 1
        if not queues[tenant]:
            del queues[tenant]
    return admitted


def _urgency(job: Job, now: datetime) -> int:
    return _STEPS[job.priority] + int((now - job.created_time).total_seconds() // AGING_S)


def retry_class(reason: str) -> RetryClass:
    """Whose fault `reason` is; an unknown one is ours."""
    return RETRY_CLASS.get(cast(Reason, reason), "SYSTEM")


def after_failure(
    reason: str,
    attempts: Sequence[Attempt],
    *,
    now: datetime,
    max_attempts: int,
    pending_timeout_s: float = math.inf,
) -> RetryDecision:
    """What follows when the last of `attempts` failed for `reason`.

    USER and NUMERIC fail at once: the same input fails the same way. DEADLINE expires. SYSTEM is
    tried again until `max_attempts` are spent. CAPACITY spends nothing, but a job that found no room for
    `pending_timeout_s`, over however many attempts, expires.
    """
    kind = retry_class(reason)
    if kind in ("USER", "NUMERIC"):
        return RetryDecision(JobState.FAILED)
    if kind == "DEADLINE":
        return RetryDecision(JobState.EXPIRED)
    earlier = [attempt.reason for attempt in attempts[:-1]]
    spent = sum(retry_class(known) != "CAPACITY" for known in earlier if known) + (kind != "CAPACITY")
    if spent >= max_attempts:
        return RetryDecision(JobState.FAILED)
    if kind == "CAPACITY" and _without_room_s(attempts, now) > pending_timeout_s:
        return RetryDecision(JobState.EXPIRED)
    return RetryDecision(JobState.RECOVERING, now + timedelta(seconds=backoff_s(len(attempts))))


def _without_room_s(attempts: Sequence[Attempt], now: datetime) -> float:
    """Since when no attempt has shown a sign of life."""
    since = now
    for attempt in reversed(attempts):
        if attempt.heartbeat_seen_time is not None:
            break
        since = attempt.created_time
    return (now - since).total_seconds()


def backoff_s(attempts: int) -> float:
    """Seconds to wait after that many attempts: 1, 2, 4… up to a minute."""
    return float(min(MAX_BACKOFF_S, 2.0 ** max(0, min(attempts, 30) - 1)))
