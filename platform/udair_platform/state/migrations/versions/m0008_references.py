"""References and an aim for tone; the plain words of a version; who counts as having asked for a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INTENT, WORDS = ("domains", "jobs", "adapter_versions"), ("jobs", "adapter_versions")


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("domains", sa.Column("scheduled_by", sa.String(length=128), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("asked_by", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("api_keys", sa.Column("first_kid", sa.String(length=64), nullable=False, server_default=""))
    for table in INTENT:
        op.add_column(table, sa.Column("tone_aim", sa.Double()))
        op.add_column(table, sa.Column("reference_uri", sa.Text()))
    for table in WORDS:
        op.add_column(table, sa.Column("words", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Go back to the one before."""
    for table in WORDS:
        op.drop_column(table, "words")
    for table in INTENT:
        op.drop_column(table, "reference_uri")
        op.drop_column(table, "tone_aim")
    op.drop_column("api_keys", "first_kid")
    op.drop_column("jobs", "asked_by")
    op.drop_column("domains", "scheduled_by")
