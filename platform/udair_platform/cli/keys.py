"""`udair key`: API keys of the tenant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.client import NewApiKey

app = typer.Typer(help="API keys.", no_args_is_help=True)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    role: Annotated[str | None, typer.Option(help="viewer, operator, approver or admin.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "-s",
            help="Instead of a role: domain:read, domain:write, job:run, version:approve, restore:invoke, "
            "metrics:read, admin. Repeatable.",
        ),
    ] = None,
    domain: Annotated[list[str] | None, typer.Option("--domain", "-d", help="Only these domains. Repeatable.")] = None,
    expires_in: Annotated[str | None, typer.Option(help="e.g. 90d, 12h, 30m; never by default.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Create a key, with a role or with scopes. It is shown this once."""
    if (role is None) == (not scope):
        raise typer.BadParameter("expected either --role or one or more --scope.")
    expires = None if expires_in is None else datetime.now(UTC) + _duration(expires_in)
    key = connect(home).keys.create(name, scope or None, role=role, domains=domain or None, expires_time=expires)
    _show_new(key, output)
    note(f"the key is not shown again.  revoke: udair key revoke {key.kid}")


@app.command("list")
def list_keys(home: Home = "", output: Format = Output.TABLE) -> None:
    """Keys, revoked ones too."""
    columns = {
        "id": "kid",
        "name": None,
        "role": None,
        "scopes": None,
        "domains": None,
        "expires": "expires_time",
        "revoked": "revoked_time",
    }
    table(output, connect(home).keys.list(), columns, empty="no keys")


@app.command()
def rotate(
    kid: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    grace: Annotated[str | None, typer.Option(help="How long the old key stays good, e.g. 1d; not at all.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Replace a key by a new one that may do the same. It is shown this once."""
    grace_s = 0 if grace is None else int(_duration(grace).total_seconds())
    key = connect(home).keys.rotate(kid, grace_s=grace_s)
    _show_new(key, output)
    note(f"{kid} stays good for {grace}" if grace else f"{kid} is revoked")


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Take a key back, at once."""
    key = connect(home).keys.revoke(kid)
    show(output, key, [("id", key.kid), ("revoked", key.revoked_time)])


def _show_new(key: NewApiKey, output: Output) -> None:
    lines = [("key", key.token), ("id", key.kid), ("scopes", key.scopes), ("expires", key.expires_time)]
    show(output, key, lines)


def _duration(duration: str) -> timedelta:
    match = re.match(r"^(\d{1,5})([mhd])$", duration)
    if match is None:
        raise typer.BadParameter(f"{duration!r} is no duration; expected e.g. 90d, 12h or 30m.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
