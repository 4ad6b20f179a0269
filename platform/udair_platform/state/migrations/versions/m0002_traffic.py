"""Canary, shadow and pinning of a domain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("domains", sa.Column("traffic", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_column("domains", "traffic")
