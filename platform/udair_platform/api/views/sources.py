"""What sources, uploads, usage and drift look like in replies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.services.observed import ReplicaObservations
from udair_platform.services.sources import Step
from udair_platform.services.usage import Use


class StepView(BaseModel):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str


class AccessView(BaseModel):
    """Whether a job could read the domain's images, and where it would fail."""

    ok: bool
    steps: list[StepView]

    @classmethod
    def of(cls, steps: list[Step]) -> AccessView:
        """The view of `steps`."""
        return cls(ok=all(step.ok for step in steps), steps=[StepView(**vars(step)) for step in steps])


class UploadView(BaseModel):
    """A form to send: POST `url` as multipart/form-data with `fields`, and then the image as `file`."""

    name: str
    url: str
    fields: dict[str, str]
    expires_time: datetime
    max_bytes: int


class UploadsView(BaseModel):
    """One form for each name."""

    uploads: list[UploadView]


class UsageView(BaseModel):
    """What a domain has had restored since its replicas began."""

    images: int
    pixels: int
    forward_s: float
    replicas: int
    since: datetime | None

    @classmethod
    def of(cls, seen: ReplicaObservations) -> UsageView:
        """The view of `seen`."""
        since = None if seen.since is None else datetime.fromtimestamp(seen.since, UTC)
        return cls(
            images=seen.images,
            pixels=seen.pixels,
            forward_s=round(seen.forward_s, 4),
            replicas=len(seen.replicas),
            since=since,
        )


class DomainUsageView(BaseModel):
    """What one domain has used: jobs that ended lately, and images since its replicas began."""

    domain: str
    jobs: int
    job_s: float
    images: int
    pixels: int
    forward_s: float

    @classmethod
    def of_use(cls, use: Use) -> DomainUsageView:
        """The view of `use`."""
        return cls(
            domain=use.name,
            jobs=use.jobs,
            job_s=round(use.job_s, 1),
            images=use.seen.images,
            pixels=use.seen.pixels,
            forward_s=round(use.seen.forward_s, 4),
        )


class TenantUsageView(BaseModel):
    """Usage by domain; `days` is how far back jobs are counted."""

    days: int
    domains: list[DomainUsageView]


class DriftView(BaseModel):
    """The newest window of every replica that has ended one, newest first."""

    windows: list[dict[str, Any]]
    confirmed: bool

    @classmethod
    def of(cls, seen: ReplicaObservations) -> DriftView:
        """The view of `seen`."""
        return cls(windows=seen.drift, confirmed=any(window.get("confirmed") for window in seen.drift))
