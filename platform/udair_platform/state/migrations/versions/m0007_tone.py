"""The intent of domains, jobs and versions; domains that are served as they came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("domains", "jobs", "adapter_versions")


def upgrade() -> None:
    """Go to this revision."""
    for table in TABLES:
        op.add_column(table, sa.Column("tone", sa.String(length=16), nullable=False, server_default="keep"))
    op.add_column("domains", sa.Column("passthrough", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_column("domains", "passthrough")
    for table in TABLES:
        op.drop_column(table, "tone")
