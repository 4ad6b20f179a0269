"""What ends every wait: each state that is not final rests, lasts a moment, or has a timeout.

Nothing waits for ever. A state that something is awaited in names the settings that bound the wait
and where the noun goes when they have run out; the reconciler sees to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from udair_platform.entities.domain import DomainState
from udair_platform.entities.job import AttemptState, JobState
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.entities.version import VersionState
from udair_platform.entities.webhook import WebhookState


class Calm(Enum):
    """RESTING: nothing is awaited. MOMENTARY: entered and left in one transaction; nobody else sees it."""

    RESTING = "resting"
    MOMENTARY = "momentary"


@dataclass(frozen=True)
class Wait:
    """Something is awaited, for so long.

    Attributes:
        settings: Names of `Settings`, in seconds: the wait ends with the first that runs out.
        then: The state that follows.
    """

    settings: tuple[str, ...]
    then: StrEnum


_RUN = ("heartbeat_timeout_s", "run_timeout_s")
_PENDING = ("pending_timeout_s",)
_CANCEL = ("cancel_timeout_s",)
# By noun first: states of two nouns that are spelled alike are equal.
WAITS: Mapping[type[StrEnum], Mapping[StrEnum, Wait | Calm]] = {
    DomainState: {DomainState.ACTIVE: Calm.RESTING},
    SnapshotState: {
        SnapshotState.SCANNING: Wait((*_PENDING, *_RUN, *_CANCEL), SnapshotState.FAILED),  # with its job
        SnapshotState.ACTIVE: Calm.RESTING,
    },
    JobState: {
        JobState.QUEUED: Wait(_PENDING, JobState.EXPIRED),
        JobState.PROVISIONING: Wait(_PENDING, JobState.EXPIRED),
        JobState.RUNNING: Wait(_RUN, JobState.EXPIRED),
        JobState.RECOVERING: Wait(_PENDING, JobState.EXPIRED),
        JobState.CANCELLING: Wait(_CANCEL, JobState.CANCELLED),
    },
    AttemptState: {
        AttemptState.PENDING: Wait(_PENDING, AttemptState.FAILED),
        AttemptState.LAUNCHED: Wait(_PENDING, AttemptState.FAILED),
        AttemptState.RUNNING: Wait(_RUN, AttemptState.FAILED),
    },
    VersionState: {
        VersionState.CREATING: Calm.MOMENTARY,
        VersionState.EVALUATING: Calm.MOMENTARY,
        VersionState.PENDING_APPROVAL: Wait(("approval_timeout_s",), VersionState.REJECTED),
        VersionState.ACTIVE: Calm.RESTING,
        VersionState.ARCHIVED: Calm.RESTING,
        VersionState.REJECTED: Calm.RESTING,
        VersionState.FAILED: Calm.RESTING,
    },
    WebhookState: {WebhookState.ACTIVE: Calm.RESTING, WebhookState.DISABLED: Calm.RESTING},
}


def wait_of(state: StrEnum) -> Wait | Calm | None:
    """What ends `state`; None for a final one."""
    return WAITS[type(state)].get(state)
