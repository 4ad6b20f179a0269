"""When a key's sessions of the console were ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("api_keys", sa.Column("logged_out_time", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_column("api_keys", "logged_out_time")
