"""An adaptation job and its attempts: what was asked for, and each try at doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from udair.config import Tone
from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.entities import machine
from udair_platform.entities.intent import Intent
from udair_platform.entities.text import Id, Name, Prose, ShortName, TenantId, Timestamp, Word


class JobState(StrEnum):
    """SUCCEEDED means that a version exists and the gate ran, whatever its verdict."""

    QUEUED = "QUEUED"
    PROVISIONING = "PROVISIONING"
    RUNNING = "RUNNING"
    RECOVERING = "RECOVERING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


_J = JobState
JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    _J.QUEUED: frozenset({_J.PROVISIONING, _J.CANCELLED, _J.FAILED, _J.EXPIRED}),
    _J.PROVISIONING: frozenset({_J.RUNNING, _J.RECOVERING, _J.CANCELLING, _J.FAILED, _J.EXPIRED}),
    _J.RUNNING: frozenset({_J.SUCCEEDED, _J.RECOVERING, _J.CANCELLING, _J.FAILED, _J.EXPIRED}),
    _J.RECOVERING: frozenset({_J.PROVISIONING, _J.CANCELLED, _J.FAILED, _J.EXPIRED}),
    _J.CANCELLING: frozenset({_J.CANCELLED}),
    _J.SUCCEEDED: frozenset(),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
    _J.EXPIRED: frozenset(),
}
JOB_TERMINAL = machine.terminal(JOB_TRANSITIONS)
HELD = "BUDGET_SPENT"  # the reason of a job that waits for its tenant's budget


class Priority(StrEnum):
    """Which of a tenant's waiting jobs starts first."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class AttemptState(StrEnum):
    """PENDING: recorded, perhaps launched; LAUNCHED: the launcher said yes; RUNNING: it was seen."""

    PENDING = "PENDING"
    LAUNCHED = "LAUNCHED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


_A = AttemptState
ATTEMPT_TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    _A.PENDING: frozenset({_A.LAUNCHED, _A.FAILED, _A.STOPPED}),
    _A.LAUNCHED: frozenset({_A.RUNNING, _A.FAILED, _A.STOPPED}),
    _A.RUNNING: frozenset({_A.SUCCEEDED, _A.FAILED, _A.STOPPED}),
    _A.SUCCEEDED: frozenset(),
    _A.FAILED: frozenset(),
    _A.STOPPED: frozenset(),
}
ATTEMPT_TERMINAL = machine.terminal(ATTEMPT_TRANSITIONS)


@dataclass(frozen=True)
class Job:
    """What was asked for.

    Attributes:
        attempt: Number of the current attempt; 0 before the first.
        not_before: A retry waits until then.
        recipe: Fields of `udair_jobs.specs.RecipeSpec` that the customer set.
        heartbeat_time: As the job's own clock wrote it.
        version: The adapter version that came of it.
        words: What it found, in plain sentences.
        asked_by: Everybody who set it off: who submitted it, who made it run again, who set the schedule that did. The
            actor is who did it then, which may be the schedule.
        tone, tone_aim, reference_uri: The domain's intent when it was submitted.
        trace: W3C ``traceparent`` of the request that wanted it, where requests are traced.
    """

    id: Id
    tenant: TenantId
    domain_id: Id
    snapshot_id: Id
    base_name: Name
    base_digest: Name
    base_uri: str
    actor: Name
    created_time: datetime
    updated_time: datetime
    state: JobState = JobState.QUEUED
    attempt: int = 0
    phase: Word | None = None
    progress_percent: float = 0.0
    eta_s: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    phases: Sequence[Mapping[str, Any]] = ()
    message: Prose = ""
    heartbeat_time: Timestamp | None = None
    reason: Word | None = None
    detail: Prose = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    not_before: datetime | None = None
    started_time: datetime | None = None
    finished_time: datetime | None = None
    version: int | None = None
    priority: Priority = Priority.NORMAL
    words: tuple[str, ...] = ()
    asked_by: tuple[str, ...] = ()
    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None
    trace: ShortName | None = None
    row_version: int = 1
    seq: int = 0

    @property
    def done(self) -> bool:
        """Nothing more will happen to it."""
        return self.state in JOB_TERMINAL

    @property
    def unbegun(self) -> bool:
        """It waits for its start, and never ran."""
        return self.state in (JobState.QUEUED, JobState.RECOVERING) and self.started_time is None

    @property
    def held(self) -> bool:
        """It waits until its tenant has a budget again."""
        return self.unbegun and self.reason == HELD

    @property
    def intent(self) -> Intent:
        """What the domain's restorations were to be like when it was submitted."""
        return Intent(self.tone, self.tone_aim, self.reference_uri)

    @property
    def base_model(self) -> BaseModelInfo:
        """The base model that it adapts."""
        return BaseModelInfo(name=self.base_name, digest=self.base_digest)


@dataclass(frozen=True)
class Attempt:
    """One try. Its submission id derives from job and number: launching it again is the same launch.

    Attributes:
        heartbeat_seen_time: When, by our clock, its progress last changed.
    """

    job_id: Id
    tenant: TenantId
    number: int
    submission_id: ShortName
    output_uri: str
    created_time: datetime
    state: AttemptState = AttemptState.PENDING
    reason: Word | None = None
    detail: Prose = ""
    launched_time: datetime | None = None
    heartbeat_seen_time: datetime | None = None
    finished_time: datetime | None = None
    row_version: int = 1


def submission_id(job_id: str, attempt: int) -> str:
    """The launcher's name for an attempt."""
    return f"{job_id}-{attempt}"


def advance(job: Job, to: JobState, *, now: datetime, reason: str | None = None, detail: str = "") -> Job:
    """`job` in state `to`.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Job", job.id, JOB_TRANSITIONS, job.state, to)
    moved = replace(job, state=to, updated_time=now, reason=reason, detail=detail)
    if to is JobState.RUNNING and job.started_time is None:
        moved = replace(moved, started_time=now)
    if to is JobState.SUCCEEDED:
        moved = replace(moved, progress_percent=100.0, eta_s=0.0)
    if to in JOB_TERMINAL:
        moved = replace(moved, finished_time=now, phase=None, not_before=None)
    if to is JobState.RECOVERING:
        moved = replace(moved, phase=None, progress_percent=0.0, eta_s=None)
    return moved


def advance_attempt(
    attempt: Attempt, to: AttemptState, *, now: datetime, reason: str | None = None, detail: str = ""
) -> Attempt:
    """`attempt` in state `to`.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Attempt", attempt.submission_id, ATTEMPT_TRANSITIONS, attempt.state, to)
    moved = replace(attempt, state=to, reason=reason, detail=detail)
    if to is AttemptState.LAUNCHED:
        moved = replace(moved, launched_time=now)
    if to in ATTEMPT_TERMINAL:
        moved = replace(moved, finished_time=now)
    return moved
