"""The tables. Columns are the fields of the entities, declared there; here are keys, references and indices.

`seq` orders a table for paging; `id` is the name outside. `row_version` is the optimistic lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from udair_platform.entities.alias import Alias, AliasChange
from udair_platform.entities.api_key import ApiKey
from udair_platform.entities.domain import Domain
from udair_platform.entities.event import Event
from udair_platform.entities.job import Attempt, Job
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.entities.served import Served
from udair_platform.entities.snapshot import Snapshot
from udair_platform.entities.tenant import Tenant
from udair_platform.entities.version import AdapterVersion
from udair_platform.entities.webhook import Webhook
from udair_platform.state.columns import UtcTime, column_of

# Constraint names are stated, so that a later migration can name them.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_REFERENCES = {"tenant": "tenants.id", "domain_id": "domains.id", "snapshot_id": "snapshots.id", "job_id": "jobs.id"}


def _table(
    name: str,
    entity: type[Any],
    *items: SchemaItem,
    key: tuple[str, ...] = ("seq",),
    references: tuple[str, ...] = ("tenant",),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Table:
    """A table with a column for every field of `entity`.

    Args:
        key: The primary key.
        references: Columns that name a row of the table that `_REFERENCES` says.
        options: More about a column: unique, index.
    """
    hints = get_type_hints(entity, include_extras=True)
    columns = []
    for item in fields(entity):
        kind, nullable = column_of(hints[item.name])
        target = [ForeignKey(_REFERENCES[item.name])] if item.name in references else []
        more: dict[str, Any] = {"autoincrement": False} if key != ("seq",) and item.name in key else {}
        columns.append(
            Column(item.name, kind, *target, nullable=nullable, **more, **(options or {}).get(item.name, {}))
        )
    return Table(name, METADATA, *columns, PrimaryKeyConstraint(*key), *items)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


TENANTS = _table("tenants", Tenant, key=("id",), references=())
BASE_MODELS = _table("base_models", RegisteredModel, references=(), options={"digest": {"unique": True}})
DOMAINS = _table(
    "domains",
    Domain,
    Index("uq_domains_living_name", "tenant", "name", unique=True, **_where("state != 'DELETED'")),
    Index("ix_domains_tenant_seq", "tenant", "seq"),
    options={"id": {"unique": True}, "next_run_time": {"index": True}},
)
SNAPSHOTS = _table(
    "snapshots",
    Snapshot,
    Index("ix_snapshots_domain_seq", "domain_id", "seq"),
    references=("tenant", "domain_id"),
    options={"id": {"unique": True}, "job_id": {"index": True}},
)
JOBS = _table(
    "jobs",
    Job,
    Index("ix_jobs_tenant_seq", "tenant", "seq"),
    Index("ix_jobs_domain_seq", "domain_id", "seq"),
    Index("ix_jobs_tenant_finished", "tenant", "finished_time"),
    references=("tenant", "domain_id", "snapshot_id"),
    options={"id": {"unique": True}, "state": {"index": True}},
)
# Each try is committed before it is launched, so that a crash cannot hide a launch.
ATTEMPTS = _table(
    "attempts",
    Attempt,
    key=("job_id", "number"),
    references=("tenant", "job_id"),
    options={"submission_id": {"unique": True}},
)
# The unique job_id is what makes a job yield at most one version, whatever crashes.
VERSIONS = _table(
    "adapter_versions",
    AdapterVersion,
    Index("ix_adapter_versions_pending", "updated_time", **_where("state = 'PENDING_APPROVAL'")),
    key=("domain_id", "number"),
    references=("tenant", "domain_id", "job_id", "snapshot_id"),
    options={"job_id": {"unique": True}, "verdict": {"index": True}},
)
ALIASES = _table("aliases", Alias, key=("domain_id", "name"), references=("tenant", "domain_id"))
# A trigger keeps this one and the events append-only.
ALIAS_CHANGES = _table(
    "alias_changes", AliasChange, references=("tenant", "domain_id"), options={"domain_id": {"index": True}}
)
API_KEYS = _table("api_keys", ApiKey, options={"kid": {"unique": True}, "tenant": {"index": True}})
EVENTS = _table(
    "events",
    Event,
    Index("ix_events_tenant_seq", "tenant", "seq"),
    Index("ix_events_domain_seq", "tenant", "domain_id", "seq"),
    Index("ix_events_name_seq", "tenant", "name", "seq"),
    Index("ix_events_noun_seq", "tenant", "noun", "seq"),
    references=(),
)
WEBHOOKS = _table("webhooks", Webhook, options={"id": {"unique": True}, "tenant": {"index": True}})
SERVED = _table(
    "served",
    Served,
    Index("ix_served_span_begin", "span_s", "begin_time"),
    key=("domain_id", "span_s", "begin_time", "version"),
    references=("tenant", "domain_id"),
)
# How many minutes of each replica's reports are in there: one that is reported twice is added once.
REPORTS_TAKEN = Table(
    "reports_taken",
    METADATA,
    Column("replica", String(128), primary_key=True),
    Column("minutes", Integer, nullable=False),
    Column("taken_time", UtcTime, nullable=False),
)

# Who may act. `token` rises with every new holder and fences the old one's writes.
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires_time", UtcTime, nullable=False),
)
# Login links that were used, until their time would be over anyway.
USED_LINKS = Table(
    "used_links",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("until_time", UtcTime, nullable=False),
)
# What replicas have restored for each tenant, by calendar month; and how far each replica's own count was read for it.
SERVED_MONTHS = Table(
    "served_months",
    METADATA,
    Column("tenant", String(63), ForeignKey("tenants.id"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("images", BigInteger, nullable=False),
    Column("forward_s", Double, nullable=False),
)
REPLICA_READINGS = Table(
    "replica_readings",
    METADATA,
    Column("replica", String(128), primary_key=True),
    Column("read_time", UtcTime, nullable=False),
    Column("tenants", JSON, nullable=False),
)
# Numbers that only rise: the generation of routes.json.
COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", Integer, nullable=False),
)
# Replies to requests that carried an idempotency key; `status` is null while one is served.
REPLIES = Table(
    "replies",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("tenant", String(63), ForeignKey("tenants.id"), nullable=False),
    Column("kid", String(64), nullable=False),
    Column("key", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer),
    Column("headers", JSON, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_time", UtcTime, nullable=False),
    UniqueConstraint("tenant", "kid", "key"),
)
