"""What was served, minute by minute, and how far each replica's reports were taken over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "served",
        sa.Column("domain_id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("span_s", sa.Integer(), nullable=False),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("latency", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name="fk_served_domain_id"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_served_tenant"),
        sa.PrimaryKeyConstraint("domain_id", "span_s", "begin_time", "version", name="pk_served"),
    )
    op.create_index("ix_served_span_begin", "served", ["span_s", "begin_time"])
    op.create_table(
        "reports_taken",
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("taken_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("replica", name="pk_reports_taken"),
    )


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("reports_taken")
    op.drop_table("served")
