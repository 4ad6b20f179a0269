"""What domains, their aliases and their snapshots look like in replies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.entities.alias import CHAMPION, Alias, AliasChange
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.snapshot import Snapshot


class GateView(BaseModel):
    """Gate rules as stored."""

    policy: str
    limits: dict[str, float]
    allow_inconclusive: bool
    four_eyes: bool


class ScheduleView(BaseModel):
    """When a domain is adapted without being asked."""

    cron: str
    on_drift: bool
    recipe: dict[str, Any]
    next_run_time: datetime | None


class DomainView(BaseModel):
    """A domain."""

    name: str
    id: str
    source_uri: str
    description: str
    gate: GateView
    schedule: ScheduleView
    source_role_arn: str | None
    external_id: str
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
            schedule=ScheduleView(**domain.schedule.to_dict(), next_run_time=domain.next_run_time),
            source_role_arn=domain.source_role_arn,
            external_id=domain.external_id,
            state=domain.state,
            champion=points.get(CHAMPION, SOURCE_VERSION),
            aliases=points,
            etag=etag_of(domain),
            created_time=domain.created_time,
            updated_time=domain.updated_time,
        )


class ShareView(BaseModel):
    """A version and its percentage of the requests."""

    version: int
    percent: float


class RouteView(BaseModel):
    """What serves a domain. Whether a replica cannot load it, the data plane's own `/route` knows."""

    state: str
    version: int
    canary: ShareView | None
    shadow: ShareView | None
    pinned: bool

    @classmethod
    def of(cls, domain: Domain, champion: Alias) -> RouteView:
        """The view of `domain`'s route."""
        traffic = domain.traffic
        return cls(
            state="CANARYING" if traffic.canary else "SHADOWING" if traffic.shadow else "ACTIVE",
            version=champion.version,
            canary=ShareView(**vars(traffic.canary)) if traffic.canary else None,
            shadow=ShareView(**vars(traffic.shadow)) if traffic.shadow else None,
            pinned=traffic.pinned,
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


def etag_of(domain: Domain) -> str:
    """The domain's ETag, as If-Match wants it."""
    return f'"{domain.row_version}"'
