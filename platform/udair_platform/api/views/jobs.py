"""What jobs and their attempts look like in replies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.api.views.platform import BaseView
from udair_platform.entities.job import Attempt, Job


class AttemptView(BaseModel):
    """One try of a job."""

    number: int
    state: str
    reason: str | None
    detail: str
    created_time: datetime
    launched_time: datetime | None
    finished_time: datetime | None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptView:
        """The view of `attempt`."""
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class JobView(BaseModel):
    """A job."""

    id: str
    domain: str
    state: str
    done: bool
    phase: str | None
    progress_percent: float
    eta_seconds: float | None
    metrics: dict[str, float | None]
    phases: list[dict[str, Any]]
    message: str
    reason: str | None
    detail: str
    priority: str
    attempt: int
    attempts: list[AttemptView] | None = None
    recipe: dict[str, Any]
    snapshot: str
    base_model: BaseView
    version: int | None
    actor: str
    created_time: datetime
    updated_time: datetime
    started_time: datetime | None
    finished_time: datetime | None
    last_heartbeat_time: str | None

    @classmethod
    def of(cls, job: Job, domain: str, attempts: Sequence[Attempt] | None = None) -> JobView:
        """The view of `job`."""
        return cls(
            id=job.id,
            domain=domain,
            state=job.state,
            done=job.done,
            phase=job.phase,
            progress_percent=job.progress_percent,
            eta_seconds=job.eta_s,
            metrics=dict(job.metrics),
            phases=[dict(record) for record in job.phases],
            message=job.message,
            reason=job.reason,
            detail=job.detail,
            priority=job.priority,
            attempt=job.attempt,
            attempts=None if attempts is None else [AttemptView.of(item) for item in attempts],
            recipe=dict(job.recipe),
            snapshot=job.snapshot_id,
            base_model=BaseView(name=job.base_name, digest=job.base_digest),
            version=job.version,
            actor=job.actor,
            created_time=job.created_time,
            updated_time=job.updated_time,
            started_time=job.started_time,
            finished_time=job.finished_time,
            last_heartbeat_time=job.heartbeat_time,
        )
