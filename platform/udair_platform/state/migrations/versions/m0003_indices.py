"""Indices in the order of lists, and the append-only triggers on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APPEND_ONLY = ("events", "alias_changes")
# (name, table, columns) that come, and single-column ones that they make needless.
ADDED = (
    ("ix_events_tenant_seq", "events", ["tenant", "seq"]),
    ("ix_events_domain_seq", "events", ["tenant", "domain_id", "seq"]),
    ("ix_events_name_seq", "events", ["tenant", "name", "seq"]),
    ("ix_events_noun_seq", "events", ["tenant", "noun", "seq"]),
    ("ix_domains_tenant_seq", "domains", ["tenant", "seq"]),
    ("ix_jobs_tenant_seq", "jobs", ["tenant", "seq"]),
    ("ix_jobs_domain_seq", "jobs", ["domain_id", "seq"]),
    ("ix_snapshots_domain_seq", "snapshots", ["domain_id", "seq"]),
)
NEEDLESS = (
    ("events", "tenant"),
    ("events", "domain_id"),
    ("events", "name"),
    ("jobs", "tenant"),
    ("jobs", "domain_id"),
    ("snapshots", "domain_id"),
)
PENDING = sa.text("state = 'PENDING_APPROVAL'")


def upgrade() -> None:
    """Go to this revision."""
    for name, table, columns in ADDED:
        op.create_index(name, table, columns)
    for table, column in NEEDLESS:
        op.drop_index(f"ix_{table}_{column}", table_name=table)
    op.create_index(
        "ix_adapter_versions_pending",
        "adapter_versions",
        ["updated_time"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    if op.get_bind().dialect.name != "postgresql":
        return  # SQLite has its triggers since the first revision
    op.execute(
        "CREATE FUNCTION refuse_to_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite()"
        )


def downgrade() -> None:
    """Go back to the one before."""
    if op.get_bind().dialect.name == "postgresql":
        for table in APPEND_ONLY:
            op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        op.execute("DROP FUNCTION refuse_to_rewrite()")
    op.drop_index("ix_adapter_versions_pending", table_name="adapter_versions")
    for table, column in NEEDLESS:
        op.create_index(f"ix_{table}_{column}", table, [column])
    for name, table, _ in ADDED:
        op.drop_index(name, table_name=table)
