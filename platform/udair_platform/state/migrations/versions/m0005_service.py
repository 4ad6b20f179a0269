"""Webhooks; schedules, roles and priorities; quotas of tenants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    time = sa.DateTime(timezone=True)
    for name in ("max_concurrent_jobs", "max_queued_jobs", "max_domains"):
        op.add_column("tenants", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("priority", sa.String(32), nullable=False, server_default="NORMAL"))
    op.add_column("domains", sa.Column("schedule", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("domains", sa.Column("next_run_time", time, nullable=True))
    op.add_column("domains", sa.Column("source_role_arn", sa.Text(), nullable=True))
    # A domain of before has no role; whoever gives it one later gets an id of its own then.
    op.add_column("domains", sa.Column("external_id", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_domains_next_run_time", "domains", ["next_run_time"])
    op.create_table(
        "webhooks",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("tenant", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False, index=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("secret_number", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", time, nullable=True),
        sa.Column("not_before", time, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("delivered_time", time, nullable=True),
        sa.Column("created_time", time, nullable=False),
        sa.Column("updated_time", time, nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("webhooks")
    op.drop_index("ix_domains_next_run_time", "domains")
    for name in ("schedule", "next_run_time", "source_role_arn", "external_id"):
        op.drop_column("domains", name)
    op.drop_column("jobs", "priority")
    for name in ("max_concurrent_jobs", "max_queued_jobs", "max_domains"):
        op.drop_column("tenants", name)
