"""`udair status`: what needs somebody's attention now, as the console's first page says it."""

from __future__ import annotations

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, table


def status(home: Home = "", output: Format = Output.TABLE) -> None:
    """What needs somebody's attention now. Ends with 1 if anything does."""
    concerns = connect(home).attention()
    table(output, concerns, {"kind": None, "what": "message", "next": "step"}, empty="nothing needs attention")
    if concerns:
        note(f"{len(concerns)} to look at; `udair login-link` opens the console on them")
        raise typer.Exit(exits.ERROR)
