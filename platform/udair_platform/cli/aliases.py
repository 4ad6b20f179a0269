"""`udair alias`: names that point at versions."""

from __future__ import annotations

from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Named, NamedVersion, Output, Why, connect, split_version
from udair_platform.cli.render import note, show, table

app = typer.Typer(help="Names that point at versions, with their history.", no_args_is_help=True)
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="champion, candidate, previous, or one of yours.")]


@app.command("list")
def list_aliases(domain: Named, home: Home = "", output: Format = Output.TABLE) -> None:
    """Where a domain's aliases point."""
    found = connect(home).domains.get(domain)
    rows = [{"alias": name, "version": f"{domain}@{number}"} for name, number in sorted(found.aliases.items())]
    table(output, rows, {"alias": None, "version": None}, empty="no aliases")


@app.command("set")
def set_alias(
    alias: Alias,
    version: NamedVersion,
    if_current: Annotated[int | None, typer.Option(min=0, help="Only if it points at this version now.")] = None,
    reason: Why = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Point an alias at a version."""
    name, number = split_version(version)
    domain = connect(home).domains.get(name)
    target = int(number) if number.isdigit() else domain.version(number).number
    before = domain.aliases.get(alias)
    moved = domain.set_alias(alias, target, if_current=if_current, reason=reason)
    show(output, moved, [("alias", alias), ("version", f"{name}@{moved.version}"), ("was", before)])
    if before is not None and before != moved.version:
        note(f"undo: udair alias set {alias} {name}@{before}")


@app.command()
def history(
    domain: Named,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Which one.")] = "champion",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Where an alias pointed when, who moved it, and why; newest first."""
    columns = {"to": "to_version", "from": "from_version", "time": None, "by": "actor", "reason": None}
    table(output, connect(home).domains.get(domain).history(alias), columns, empty=f"{alias} has never been set")
