"""How Alembic runs here: over the connection that `udair_platform.state.database` hands it."""

from __future__ import annotations

from alembic import context

from udair_platform.state.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
# The caller began the transaction: two processes that start together migrate one after the other.
context.run_migrations()
