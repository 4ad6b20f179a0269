"""What the platform tells, as values. Fields that a newer platform adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of all values."""

    # Validators are built when the first value comes: a client that is only imported need not wait.
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


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


class Schedule(Model):
    """When a domain is adapted without being asked."""

    cron: str = ""
    on_drift: bool = False
    recipe: dict[str, Any] = Field(default_factory=dict)
    next_run_time: datetime | None = None


class AccessStep(Model):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str = ""


class Access(Model):
    """Whether a job could read a domain's images, and where it would fail."""

    ok: bool
    steps: list[AccessStep]


class Upload(Model):
    """A form to send: POST `url` as multipart/form-data with `fields`, and then the image as ``file``."""

    name: str
    url: str
    fields: dict[str, str]
    expires_time: datetime
    max_bytes: int


class Usage(Model):
    """What a domain has had restored since its replicas began."""

    images: int
    pixels: int
    forward_s: float
    replicas: int
    since: datetime | None = None


class DomainUsage(Model):
    """What one domain has used: jobs that ended lately, and images since its replicas began."""

    domain: str
    jobs: int
    job_s: float
    images: int
    pixels: int
    forward_s: float


class Drift(Model):
    """The newest window of every replica that has ended one, newest first."""

    windows: list[dict[str, Any]]
    confirmed: bool


class File(Model):
    """One file of a version; `url` reads it without a key for 15 minutes, where the store can do that."""

    name: str
    sha256: str
    size_bytes: int
    url: str | None = None


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


class Lineage(Model):
    """Everything that a version rests on, and when it served."""

    version: int
    adapter_digest: str
    candidate_uri: str
    verdict: str | None
    job: str
    attempts: int
    cause_actor: str
    recipe: dict[str, Any]
    config_digest: str
    snapshot: str
    snapshot_digest: str | None
    snapshot_uri: str
    images: int | None
    base_model: BaseModelInfo
    code_version: str
    created_time: datetime
    served: list[AliasChange]


class Webhook(Model):
    """A webhook, and how its deliveries go; `secret` only in the replies that make one."""

    id: str
    url: str
    kinds: list[str]
    description: str = ""
    state: str
    failures: int = 0
    last_error: str = ""
    delivered_time: datetime | None = None
    behind: int = 0
    created_time: datetime
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, url={self.url!r}, state={self.state!r})"

    __str__ = __repr__


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
