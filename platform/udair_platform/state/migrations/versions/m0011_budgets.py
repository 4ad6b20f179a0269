"""Budgets of tenants; what was restored in each month, and how far replicas' counts were read for that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("tenants", sa.Column("budget", sa.JSON(), nullable=False, server_default="{}"))
    op.create_index("ix_jobs_tenant_finished", "jobs", ["tenant", "finished_time"])
    op.create_table(
        "served_months",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("forward_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_served_months_tenant"),
        sa.PrimaryKeyConstraint("tenant", "month", name="pk_served_months"),
    )
    op.create_table(
        "replica_readings",
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("read_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenants", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("replica", name="pk_replica_readings"),
    )


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("replica_readings")
    op.drop_table("served_months")
    op.drop_index("ix_jobs_tenant_finished", table_name="jobs")
    op.drop_column("tenants", "budget")
