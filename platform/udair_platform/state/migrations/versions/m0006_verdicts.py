"""Verdicts of the gate are counted at every scrape: an index, so that the versions themselves are not read."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_index("ix_adapter_versions_verdict", "adapter_versions", ["verdict"])


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_index("ix_adapter_versions_verdict", "adapter_versions")
