"""Adaptation jobs and their attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.contract.value import Value


class Attempt(Value):
    """One try of a job."""

    number: int
    state: str
    reason: str | None = None
    detail: str = ""
    created_time: datetime
    launched_time: datetime | None = None
    finished_time: datetime | None = None


class Job(Value):
    """A job as it was when it was asked for."""

    id: str
    domain: str
    state: str
    done: bool
    phase: str | None = None
    progress_percent: float = 0.0
    eta_s: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    phases: list[dict[str, Any]] = Field(default_factory=list)
    message: str = ""
    reason: str | None = None
    detail: str = ""
    priority: str = "NORMAL"
    attempt: int = 0
    attempts: list[Attempt] | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    snapshot_id: str
    base_model: BaseModelInfo
    version: int | None = None
    actor: str = ""
    created_time: datetime
    updated_time: datetime
    started_time: datetime | None = None
    finished_time: datetime | None = None
    heartbeat_time: str | None = None
