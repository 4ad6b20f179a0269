"""Adaptation jobs and their attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from udair.config import Tone
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
    words: list[str] = Field([], description="what was found, in plain sentences")
    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    snapshot_id: str
    base_model: BaseModelInfo
    version: int | None = None
    verdict: str | None = Field(None, description="the gate's, on its version")
    actor: str = ""
    created_time: datetime
    updated_time: datetime
    started_time: datetime | None = None
    finished_time: datetime | None = None
    heartbeat_time: str | None = None


class Curve(Value):
    """A figure over the steps of the training; where there were many, each value is the mean of several."""

    name: str
    steps: list[int] = Field(description="of the training, at the end of each point")
    values: list[float]


class JobCurves(Value):
    """What an attempt of a job told while it trained: of the newest that trained, at most 200 points each."""

    attempt: int = Field(description="0: none has trained yet")
    curves: list[Curve]
