"""An index of verdicts, which are counted at every scrape; the trace that a job belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_index("ix_adapter_versions_verdict", "adapter_versions", ["verdict"])
    op.add_column("jobs", sa.Column("trace", sa.String(64), nullable=True))


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_column("jobs", "trace")
    op.drop_index("ix_adapter_versions_verdict", "adapter_versions")
