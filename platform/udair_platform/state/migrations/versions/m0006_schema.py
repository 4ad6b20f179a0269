"""The whole schema: what six revisions before the first release came to.

It has the number of the last of them: a database of that revision has just this schema, and goes on.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("events", "alias_changes")
SQLITE = {" SERIAL ": " INTEGER ", "TIMESTAMP WITH TIME ZONE": "DATETIME", "DOUBLE PRECISION": "DOUBLE"}
REFUSE = (
    "CREATE FUNCTION refuse_to_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
    "'% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"
)


def upgrade() -> None:
    """Make every table, and keep the history append-only."""
    lite = op.get_bind().dialect.name == "sqlite"
    schema = Path(__file__).with_suffix(".sql").read_text()
    for word, other in SQLITE.items() if lite else ():
        schema = schema.replace(word, other)
    for statement in schema.split(";\n"):
        if statement.strip():
            op.execute(statement)
    if not lite:
        op.execute(REFUSE)
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE") if lite else ():
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        if not lite:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite()"
            )


def downgrade() -> None:
    """Go back to an empty database."""
    connection = op.get_bind()
    tables = sa.MetaData()
    tables.reflect(connection)
    for table in reversed(tables.sorted_tables):
        if table.name != "alembic_version":
            op.drop_table(table.name)
    if connection.dialect.name != "sqlite":
        op.execute("DROP FUNCTION refuse_to_rewrite()")
