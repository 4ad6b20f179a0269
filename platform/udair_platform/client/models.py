"""What the platform tells, as values. Fields that a newer platform adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all values."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class BaseModelInfo(Model):
    """A base model."""

    name: str
    digest: str
    uri: str | None = None


class PlatformInfo(Model):
    """The platform itself."""

    version: str
    serve_url: str
    tenant: str
    base_model: BaseModelInfo | None = None


class GateRules(Model):
    """A domain's gate rules."""

    policy: str
    limits: dict[str, float]
    allow_inconclusive: bool
    four_eyes: bool = False


class GateCheck(Model):
    """One line of the gate's report."""

    name: str
    measured: float | None
    limit: float | None
    passed: bool
    judged: bool = True
    detail: str = ""


class GateReport(Model):
    """The verdict with every check behind it."""

    version: int
    state: str
    verdict: str | None
    checks: list[GateCheck]
    rules: dict[str, Any]
    evidence: dict[str, Any] | None = None


class Snapshot(Model):
    """What a job found in the domain's bucket."""

    id: str
    state: str
    job_id: str
    digest: str | None = None
    summary: dict[str, Any] | None = None
    detail: str = ""
    created_time: datetime


class Attempt(Model):
    """One try of a job."""

    number: int
    state: str
    reason: str | None = None
    detail: str = ""


class Alias(Model):
    """Where an alias points."""

    alias: str
    version: int
    updated_time: datetime


class RouteShare(Model):
    """A version and its percentage of the requests."""

    version: int
    percent: float


class Route(Model):
    """What serves a domain."""

    state: str
    version: int
    canary: RouteShare | None = None
    shadow: RouteShare | None = None
    pinned: bool = False


class AliasChange(Model):
    """One move of an alias."""

    from_version: int | None
    to_version: int
    actor: str
    reason: str
    time: datetime


class ApiKey(Model):
    """An API key; `token` only in the replies that make one."""

    kid: str
    name: str
    role: str | None = None
    scopes: list[str]
    domains: list[str] | None = None
    created_time: datetime
    expires_time: datetime | None = None
    revoked_time: datetime | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"ApiKey(kid={self.kid!r}, name={self.name!r}, scopes={self.scopes!r})"

    __str__ = __repr__


class Event(Model):
    """One thing that happened."""

    id: int
    time: datetime
    actor: str
    cause: str
    noun: str
    name: str
    kind: str
    data: dict[str, Any]
