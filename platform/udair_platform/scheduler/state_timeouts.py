"""What ends every wait: each state that is not final rests, lasts a moment, or has a timeout.

Nothing waits for ever. The reconciler asks `missed`, which reads this table; a test holds the table against the
transition tables, and the reconciler against both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from udair_jobs.specs import Reason
from udair_platform.entities.domain import DomainState
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.entities.version import VersionState
from udair_platform.entities.webhook import WebhookState
from udair_platform.settings import Settings


class NoTimeout(Enum):
    """RESTING: nothing is awaited. MOMENTARY: entered and left in one transaction; nobody else sees it."""

    RESTING = "resting"
    MOMENTARY = "momentary"


@dataclass(frozen=True)
class Timeout:
    """One bound of a wait.

    Attributes:
        setting: Name of the `Settings` field that says how long, in seconds.
        since: When the wait began; None where a noun that waits with this one is asked instead.
        reason, detail: What follows is told with; `limit` and `age` are in seconds.
    """

    setting: str
    since: Callable[[Any], datetime] | None = None
    reason: Reason = "PENDING_TIMEOUT"
    detail: str = "waited longer than {limit:g} s"


@dataclass(frozen=True)
class StateTimeouts:
    """The bounds of a state, and the state that follows the first of them to run out."""

    timeouts: tuple[Timeout, ...]
    then: StrEnum


def _with_others(*settings: str) -> tuple[Timeout, ...]:
    return tuple(Timeout(setting) for setting in settings)


_WAITING = (Timeout("pending_timeout_s", lambda job: job.updated_time),)
_RUN = ("heartbeat_timeout_s", "run_timeout_s")
# By noun first: states of two nouns that are spelled alike are equal.
TIMEOUTS: Mapping[type[StrEnum], Mapping[StrEnum, StateTimeouts | NoTimeout]] = {
    DomainState: {DomainState.ACTIVE: NoTimeout.RESTING},
    SnapshotState: {
        SnapshotState.SCANNING: StateTimeouts(  # with its job
            _with_others("pending_timeout_s", *_RUN, "cancel_timeout_s"), SnapshotState.FAILED
        ),
        SnapshotState.ACTIVE: NoTimeout.RESTING,
    },
    JobState: {
        JobState.QUEUED: StateTimeouts(_WAITING, JobState.EXPIRED),
        JobState.PROVISIONING: StateTimeouts(_with_others("pending_timeout_s"), JobState.EXPIRED),  # with its attempt
        JobState.RUNNING: StateTimeouts(_with_others(*_RUN), JobState.EXPIRED),
        JobState.RECOVERING: StateTimeouts(_WAITING, JobState.EXPIRED),
        JobState.CANCELLING: StateTimeouts(
            (Timeout("cancel_timeout_s", lambda job: job.updated_time),), JobState.CANCELLED
        ),
    },
    AttemptState: {
        AttemptState.PENDING: StateTimeouts(
            (
                Timeout(
                    "pending_timeout_s",
                    lambda attempt: attempt.created_time,
                    "PENDING_TIMEOUT",
                    "not launched within {limit:g} s",
                ),
            ),
            AttemptState.FAILED,
        ),
        AttemptState.LAUNCHED: StateTimeouts(
            (
                Timeout(
                    "pending_timeout_s",
                    lambda attempt: attempt.launched_time,
                    "PENDING_TIMEOUT",
                    "not started within {limit:g} s of its launch",
                ),
            ),
            AttemptState.FAILED,
        ),
        AttemptState.RUNNING: StateTimeouts(
            (
                Timeout(
                    "run_timeout_s",
                    lambda attempt: attempt.launched_time,
                    "RUN_TIMEOUT",
                    "ran longer than {limit:g} s",
                ),
                Timeout(
                    "heartbeat_timeout_s",
                    lambda attempt: attempt.heartbeat_seen_time or attempt.launched_time,
                    "HEARTBEAT_LOST",
                    "no progress was written for {age:.0f} s",
                ),
            ),
            AttemptState.FAILED,
        ),
    },
    VersionState: {
        VersionState.CREATING: NoTimeout.MOMENTARY,
        VersionState.EVALUATING: NoTimeout.MOMENTARY,
        VersionState.PENDING_APPROVAL: StateTimeouts(_with_others("approval_timeout_s"), VersionState.REJECTED),
        VersionState.ACTIVE: NoTimeout.RESTING,
        VersionState.ARCHIVED: NoTimeout.RESTING,
        VersionState.REJECTED: NoTimeout.RESTING,
        VersionState.FAILED: NoTimeout.RESTING,
    },
    WebhookState: {WebhookState.ACTIVE: NoTimeout.RESTING, WebhookState.DISABLED: NoTimeout.RESTING},
}


def timeouts_of(state: StrEnum) -> StateTimeouts | NoTimeout | None:
    """What ends `state`; None for a final one."""
    return TIMEOUTS[type(state)].get(state)


def missed(noun: Job | Attempt, *, now: datetime, settings: Settings) -> tuple[Reason, str] | None:
    """The first timeout of its state that a job or attempt has run out of, in words; None while it has time.

    A job that is held until its tenant has a budget again has time: the month's end ends that wait, and another begins.
    """
    if isinstance(noun, Job) and noun.held:
        return None
    bounds = timeouts_of(noun.state)
    for timeout in bounds.timeouts if isinstance(bounds, StateTimeouts) else ():
        if timeout.since is None:
            continue
        limit, age = getattr(settings, timeout.setting), (now - timeout.since(noun)).total_seconds()
        if age > limit:
            return timeout.reason, timeout.detail.format(limit=limit, age=age)
    return None
