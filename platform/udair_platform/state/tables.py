"""The tables. Column names are the field names of the entities, so rows and nouns map one to one.

`seq` orders a table for paging; `id` is the name outside. `row_version` is the optimistic lock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from udair_platform.entities.domain import DomainState, GateRules, Schedule, Traffic
from udair_platform.entities.job import AttemptState, JobState, Priority
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.entities.version import VersionState
from udair_platform.entities.webhook import WebhookState
from udair_platform.state.columns import (
    EnumText,
    GateRulesJson,
    SafeText,
    ScheduleJson,
    TextTuple,
    TrafficJson,
    UtcTime,
)


class Base(DeclarativeBase):
    """Constraint names are stated, so that a later migration can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime, dict[str, Any]: JSON}


class TenantRow(Base):
    """Who is isolated from whom."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    created_time: Mapped[datetime]
    max_concurrent_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    max_domains: Mapped[int | None]


class BaseModelRow(Base):
    """Base models that this platform has adapted, newest last."""

    __tablename__ = "base_models"
    seq: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    uri: Mapped[str] = mapped_column(Text)
    created_time: Mapped[datetime]


class DomainRow(Base):
    """A name is unique among a tenant's living domains."""

    __tablename__ = "domains"
    __table_args__ = (
        Index(
            "uq_domains_living_name",
            "tenant",
            "name",
            unique=True,
            sqlite_where=text("state != 'DELETED'"),
            postgresql_where=text("state != 'DELETED'"),
        ),
        Index("ix_domains_tenant_seq", "tenant", "seq"),
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(63))
    description: Mapped[str] = mapped_column(SafeText)
    source_uri: Mapped[str] = mapped_column(Text)
    gate: Mapped[GateRules] = mapped_column(GateRulesJson)
    state: Mapped[DomainState] = mapped_column(EnumText(DomainState))
    traffic: Mapped[Traffic] = mapped_column(TrafficJson)
    schedule: Mapped[Schedule] = mapped_column(ScheduleJson)
    next_run_time: Mapped[datetime | None] = mapped_column(index=True)
    source_role_arn: Mapped[str | None] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(String(64))
    created_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class SnapshotRow(Base):
    """What the jobs found in the domains' buckets."""

    __tablename__ = "snapshots"
    __table_args__ = (Index("ix_snapshots_domain_seq", "domain_id", "seq"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    job_id: Mapped[str] = mapped_column(String(40), index=True)
    uri: Mapped[str] = mapped_column(Text)
    state: Mapped[SnapshotState] = mapped_column(EnumText(SnapshotState))
    digest: Mapped[str | None] = mapped_column(String(128))
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    detail: Mapped[str] = mapped_column(SafeText)
    created_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class JobRow(Base):
    """What was asked for and how far it is."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_tenant_seq", "tenant", "seq"),
        Index("ix_jobs_domain_seq", "domain_id", "seq"),
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))
    base_name: Mapped[str] = mapped_column(String(128))
    base_digest: Mapped[str] = mapped_column(String(128))
    base_uri: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(128))
    state: Mapped[JobState] = mapped_column(EnumText(JobState), index=True)
    attempt: Mapped[int]
    phase: Mapped[str | None] = mapped_column(String(32))
    progress_percent: Mapped[float]
    eta_s: Mapped[float | None]
    metrics: Mapped[dict[str, Any]]
    phases: Mapped[list[Any]] = mapped_column(JSON)
    message: Mapped[str] = mapped_column(SafeText)
    heartbeat_time: Mapped[str | None] = mapped_column(String(40))
    reason: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(SafeText)
    recipe: Mapped[dict[str, Any]]
    not_before: Mapped[datetime | None]
    started_time: Mapped[datetime | None]
    finished_time: Mapped[datetime | None]
    version: Mapped[int | None]
    priority: Mapped[Priority] = mapped_column(EnumText(Priority))
    trace: Mapped[str | None] = mapped_column(String(64))
    created_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class AttemptRow(Base):
    """Each try. Committed before it is launched, so that a crash cannot hide a launch."""

    __tablename__ = "attempts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    output_uri: Mapped[str] = mapped_column(Text)
    state: Mapped[AttemptState] = mapped_column(EnumText(AttemptState))
    reason: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(SafeText)
    created_time: Mapped[datetime]
    launched_time: Mapped[datetime | None]
    heartbeat_seen_time: Mapped[datetime | None]
    finished_time: Mapped[datetime | None]
    row_version: Mapped[int]


class VersionRow(Base):
    """The unique job_id is what makes a job yield at most one version, whatever crashes."""

    __tablename__ = "adapter_versions"
    __table_args__ = (
        Index(
            "ix_adapter_versions_pending",
            "updated_time",
            sqlite_where=text("state = 'PENDING_APPROVAL'"),
            postgresql_where=text("state = 'PENDING_APPROVAL'"),
        ),
    )
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))
    base_name: Mapped[str] = mapped_column(String(128))
    base_digest: Mapped[str] = mapped_column(String(128))
    adapter_digest: Mapped[str] = mapped_column(String(128))
    candidate_uri: Mapped[str] = mapped_column(Text)
    state: Mapped[VersionState] = mapped_column(EnumText(VersionState))
    verdict: Mapped[str | None] = mapped_column(String(16), index=True)
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    metrics: Mapped[dict[str, Any]]
    code_version: Mapped[str] = mapped_column(String(64))
    reviewed_by: Mapped[str | None] = mapped_column(String(128))
    reviewed_time: Mapped[datetime | None]
    review_reason: Mapped[str] = mapped_column(Text)
    created_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class AliasRow(Base):
    """Where each alias points now."""

    __tablename__ = "aliases"
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    version: Mapped[int]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class AliasChangeRow(Base):
    """Where each alias pointed, who moved it and why; a trigger keeps it append-only."""

    __tablename__ = "alias_changes"
    seq: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"), index=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(32))
    from_version: Mapped[int | None]
    to_version: Mapped[int]
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(SafeText)
    time: Mapped[datetime]


class ApiKeyRow(Base):
    """What is known of each key; a key that is not here is refused."""

    __tablename__ = "api_keys"
    seq: Mapped[int] = mapped_column(primary_key=True)
    kid: Mapped[str] = mapped_column(String(64), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(String(128))
    scopes: Mapped[tuple[str, ...]] = mapped_column(TextTuple)
    domains: Mapped[tuple[str, ...] | None] = mapped_column(TextTuple)
    created_time: Mapped[datetime]
    expires_time: Mapped[datetime | None]
    revoked_time: Mapped[datetime | None]


class EventRow(Base):
    """Everything that happened; a trigger keeps it append-only."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_tenant_seq", "tenant", "seq"),
        Index("ix_events_domain_seq", "tenant", "domain_id", "seq"),
        Index("ix_events_name_seq", "tenant", "name", "seq"),
        Index("ix_events_noun_seq", "tenant", "noun", "seq"),
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    time: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(128))
    cause: Mapped[str] = mapped_column(String(256))
    noun: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(64))
    domain_id: Mapped[str | None] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]


class WebhookRow(Base):
    """Who is told what happens; `cursor` is the number of the last event that arrived there."""

    __tablename__ = "webhooks"
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[tuple[str, ...]] = mapped_column(TextTuple)
    description: Mapped[str] = mapped_column(SafeText)
    cursor: Mapped[int]
    state: Mapped[WebhookState] = mapped_column(EnumText(WebhookState))
    secret_number: Mapped[int]
    failures: Mapped[int]
    failing_since: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(SafeText)
    delivered_time: Mapped[datetime | None]
    created_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    row_version: Mapped[int]


class LeaseRow(Base):
    """Who may act. `token` rises with every new holder and fences the old one's writes."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    token: Mapped[int]
    expires_time: Mapped[datetime]


class CounterRow(Base):
    """Numbers that only rise: the generation of routes.json."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int]


class ReplyRow(Base):
    """Replies to requests that carried an idempotency key; `status` is null while one is served."""

    __tablename__ = "replies"
    __table_args__ = (UniqueConstraint("tenant", "kid", "key"),)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kid: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[str] = mapped_column(Text)
    created_time: Mapped[datetime]
