"""What replies look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.entities.domain import CHAMPION, SOURCE_VERSION, Alias, AliasChange, ApiKey, Domain, Event
from udair_platform.entities.domain import BaseModel as RegisteredBase
from udair_platform.entities.job import Attempt, Job
from udair_platform.entities.snapshot import Snapshot
from udair_platform.entities.version import AdapterVersion


class GateView(BaseModel):
    """Gate rules as stored."""

    policy: str
    limits: dict[str, float]
    allow_inconclusive: bool


class DomainView(BaseModel):
    """A domain."""

    name: str
    id: str
    source_uri: str
    description: str
    gate: GateView
    state: str
    champion: int
    aliases: dict[str, int]
    etag: str
    created_time: datetime
    updated_time: datetime

    @classmethod
    def of(cls, domain: Domain, aliases: Sequence[Alias]) -> DomainView:
        """The view of `domain`."""
        points = {alias.name: alias.version for alias in aliases}
        return cls(
            name=domain.name,
            id=domain.id,
            source_uri=domain.source_uri,
            description=domain.description,
            gate=GateView(**domain.gate.to_dict()),
            state=domain.state,
            champion=points.get(CHAMPION, SOURCE_VERSION),
            aliases=points,
            etag=etag_of(domain),
            created_time=domain.created_time,
            updated_time=domain.updated_time,
        )


class SnapshotView(BaseModel):
    """A snapshot; `summary` is what the job found."""

    id: str
    state: str
    job_id: str
    digest: str | None
    summary: dict[str, Any] | None
    detail: str
    created_time: datetime
    updated_time: datetime

    @classmethod
    def of(cls, snapshot: Snapshot) -> SnapshotView:
        """The view of `snapshot`."""
        summary = None if snapshot.summary is None else dict(snapshot.summary)
        return cls(
            id=snapshot.id,
            state=snapshot.state,
            job_id=snapshot.job_id,
            digest=snapshot.digest,
            summary=summary,
            detail=snapshot.detail,
            created_time=snapshot.created_time,
            updated_time=snapshot.updated_time,
        )


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


class BaseView(BaseModel):
    """A base model."""

    name: str
    digest: str
    uri: str | None = None
    created_time: datetime | None = None

    @classmethod
    def of(cls, base: RegisteredBase) -> BaseView:
        """The view of `base`."""
        return cls(name=base.name, digest=base.digest, uri=base.uri, created_time=base.created_time)


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


class VersionView(BaseModel):
    """An adapter version; `gate` is the verdict with every check behind it."""

    number: int
    domain: str
    state: str
    verdict: str | None
    gate: dict[str, Any] | None
    metrics: dict[str, Any]
    job_id: str
    snapshot: str
    base_model: BaseView
    adapter_digest: str
    code_version: str
    aliases: list[str]
    created_time: datetime
    updated_time: datetime

    @classmethod
    def of(cls, version: AdapterVersion, domain: str, aliases: Sequence[Alias]) -> VersionView:
        """The view of `version`."""
        return cls(
            number=version.number,
            domain=domain,
            state=version.state,
            verdict=version.verdict,
            gate=None if version.gate is None else dict(version.gate),
            metrics=dict(version.metrics),
            job_id=version.job_id,
            snapshot=version.snapshot_id,
            base_model=BaseView(name=version.base_name, digest=version.base_digest),
            adapter_digest=version.adapter_digest,
            code_version=version.code_version,
            aliases=sorted(alias.name for alias in aliases if alias.version == version.number),
            created_time=version.created_time,
            updated_time=version.updated_time,
        )


class GateReportView(BaseModel):
    """The gate's report on a version, and the evidence that it judged."""

    version: int
    state: str
    verdict: str | None
    checks: list[dict[str, Any]]
    rules: dict[str, Any]
    evidence: dict[str, Any] | None

    @classmethod
    def of(cls, version: AdapterVersion) -> GateReportView:
        """The report of `version`."""
        report: Mapping[str, Any] = version.gate or {}
        return cls(
            version=version.number,
            state=version.state,
            verdict=version.verdict,
            checks=list(report.get("checks", [])),
            rules=dict(report.get("rules", {})),
            evidence=None if version.evidence is None else dict(version.evidence),
        )


class AliasView(BaseModel):
    """Where an alias points."""

    alias: str
    version: int
    updated_time: datetime

    @classmethod
    def of(cls, alias: Alias) -> AliasView:
        """The view of `alias`."""
        return cls(alias=alias.name, version=alias.version, updated_time=alias.updated_time)


class AliasChangeView(BaseModel):
    """One move of an alias."""

    from_version: int | None
    to_version: int
    actor: str
    reason: str
    time: datetime

    @classmethod
    def of(cls, change: AliasChange) -> AliasChangeView:
        """The view of `change`."""
        return cls(**{name: getattr(change, name) for name in cls.model_fields})


class KeyView(BaseModel):
    """What is known of a key."""

    kid: str
    name: str
    scopes: list[str]
    domains: list[str] | None
    created_time: datetime
    expires_time: datetime | None
    revoked_time: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> KeyView:
        """The view of `key`."""
        return cls(**_key_fields(key))


class KeyCreated(KeyView):
    """A new key with its token, which is shown this once."""

    token: str

    @classmethod
    def with_token(cls, key: ApiKey, token: str) -> KeyCreated:
        """The view of `key`, and the key."""
        return cls(**_key_fields(key), token=token)


class EventView(BaseModel):
    """One thing that happened."""

    id: int
    time: datetime
    actor: str
    cause: str
    noun: str
    name: str
    kind: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventView:
        """The view of `event`."""
        return cls(
            id=event.seq,
            time=event.time,
            actor=event.actor,
            cause=event.cause,
            noun=event.noun,
            name=event.name,
            kind=event.kind,
            data=dict(event.data),
        )


class PlatformView(BaseModel):
    """What a client needs to know about the platform itself."""

    version: str
    serve_url: str
    tenant: str
    base_model: BaseView | None


def etag_of(domain: Domain) -> str:
    """The domain's ETag, as If-Match wants it."""
    return f'"{domain.row_version}"'


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "name": key.name,
        "scopes": list(key.scopes),
        "domains": None if key.domains is None else list(key.domains),
        "created_time": key.created_time,
        "expires_time": key.expires_time,
        "revoked_time": key.revoked_time,
    }
