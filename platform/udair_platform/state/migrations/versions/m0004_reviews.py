"""Who approved or rejected a version, when and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("adapter_versions", sa.Column("reviewed_by", sa.String(length=128), nullable=True))
    op.add_column("adapter_versions", sa.Column("reviewed_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("adapter_versions", sa.Column("review_reason", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Go back to the one before."""
    for name in ("review_reason", "reviewed_time", "reviewed_by"):
        op.drop_column("adapter_versions", name)
