"""`udair admin`: for who runs the platform. It acts on the database and the store themselves, not the API.

Where they are, the settings `UDAIR_*` of the platform's processes say.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli import tenants
from udair_platform.cli.exits import ERROR
from udair_platform.cli.operator import Home, settings_at
from udair_platform.cli.options import Format, Output
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.operations.backup import Backup

app = typer.Typer(
    help="For who runs the platform. Works on its database and store, not through its API.", no_args_is_help=True
)
app.add_typer(tenants.app, name="tenant")


@app.command()
def fsck(
    mend: Annotated[bool, typer.Option("--mend", help="Do what is safe about what is found.")] = False,
    home: Home = None,
    output: Format = Output.TABLE,
) -> None:
    """Compare the database with the store. Ends with 1 if something is wrong that was not mended."""
    from datetime import UTC, datetime

    from udair_jobs.storage import open_storage
    from udair_platform.operations import fsck as registry
    from udair_platform.state.database import open_database

    settings = settings_at(home)
    database = open_database(settings.database_url, migrated=False)
    store = open_storage(settings.store_uri, endpoint_url=settings.store_endpoint_url)
    found = registry.check(database, store, now=datetime.now(UTC))
    mended = registry.mend(database, store, found) if mend else []
    left = [finding for finding in found if finding not in mended]
    columns = {"kind": None, "what": None, "detail": None, "safe to mend": "safe", "advice": None}
    table(output, found, columns, empty="nothing is wrong")
    if found:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(item.kind for item in left).items()))
        note(f"{len(found)} found, {len(mended)} mended, left: {kinds or 'nothing'}")
    raise typer.Exit(ERROR if left else 0)


@app.command()
def migrate(
    to: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Back to this one, before an older version.")
    ] = None,
    home: Home = None,
) -> None:
    """Bring the database to this version's schema, which every start does, or back to an older one."""
    from udair_platform.state.database import migrate as bring

    bring(settings_at(home).database_url, to)
    note(f"the database has {f'revision {to}' if to else 'the newest schema'}")


@app.command()
def token(home: Home = None) -> None:
    """Prepare the platform as a start does, and print its admin key: it follows from the signing key."""
    from udair_platform.bootstrap import prepare

    database, _, _, made = prepare(settings_at(home))
    database.close()
    print(made.admin_token)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder; it will hold the signing key.")],
    home: Home = None,
    output: Format = Output.TABLE,
) -> None:
    """Copy database, signing key and store, while the platform works."""
    from datetime import UTC, datetime

    from udair_platform.operations.backup import back_up

    made = back_up(settings_at(home), target, now=datetime.now(UTC))
    _show(output, target, made)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="What `udair admin backup` made.")],
    home: Home = None,
    output: Format = Output.TABLE,
) -> None:
    """Make an empty place the platform that was backed up. Stop every process first."""
    from udair_platform.operations.backup import restore as registry_restore

    settings = settings_at(home)
    made = registry_restore(settings, source)
    _show(output, settings.home, made)


def _show(output: Output, folder: Path, made: Backup) -> None:
    value = {"folder": str(folder), "time": made.time, "version": made.version, "bytes": made.bytes}
    lines = [("folder", folder), ("taken", made.time), ("files", len(made.files)), ("bytes", made.bytes)]
    show(output, value | {"files": len(made.files)}, lines)
