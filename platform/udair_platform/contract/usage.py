"""What a domain has used, what it saw, and whether its images can be read."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from udair_platform.contract.value import Value


class AccessStep(Value):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str = ""


class Access(Value):
    """Whether a job could read a domain's images, and where it would fail."""

    ok: bool
    steps: list[AccessStep]


class Upload(Value):
    """A form to send: POST `url` as multipart/form-data with `fields`, and then the image as ``file``."""

    name: str
    url: str
    fields: dict[str, str]
    expires_time: datetime
    max_bytes: int


class Uploads(Value):
    """One form for each name."""

    uploads: list[Upload]


class Usage(Value):
    """What a domain has had restored since its replicas began."""

    images: int
    pixels: int
    forward_s: float
    replicas: int
    since: datetime | None = None


class DomainUsage(Value):
    """What one domain has used: jobs that ended lately, and images since its replicas began."""

    domain: str
    jobs: int
    job_s: float
    images: int
    pixels: int
    forward_s: float


class TenantUsage(Value):
    """Usage by domain; `days` is how far back jobs are counted."""

    days: int
    domains: list[DomainUsage]


class Drift(Value):
    """The newest window of every replica that has ended one, newest first."""

    windows: list[dict[str, Any]]
    confirmed: bool


Period = Literal["hour", "day", "week", "month"]


class ServedFigures(Value):
    """Pictures of a stretch of time, and how long the backbone had them: waiting, and the model."""

    images: int = Field(description="restored")
    errors: int = Field(description="not restored: the backbone was too busy, too late, or failed")
    p50_s: float | None = Field(None, description="half of the restored took no longer; null where there are none")
    p95_s: float | None = None
    p99_s: float | None = None


class ServedPoint(ServedFigures):
    """One step of the period."""

    begin_time: datetime
    images_per_s: float


class ServedVersion(ServedFigures):
    """One version, over the whole period; 0 is the base model."""

    version: int


class DomainMetrics(Value):
    """What was served of a domain over a period that ended a minute ago, over all replicas."""

    period: Period
    from_time: datetime
    to_time: datetime
    step_s: int = Field(description="length of a step; the last one may be shorter")
    total: ServedFigures
    versions: list[ServedVersion]
    points: list[ServedPoint] = Field(description="every step, oldest first")
