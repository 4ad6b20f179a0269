"""`udair promote` and `udair rollback`: what serves a domain, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Named, NamedVersion, Output, Why, connect, split_version
from udair_platform.cli.render import note, show


def promote(
    version: NamedVersion,
    canary: Annotated[
        float | None, typer.Option(min=0.01, max=100, help="Answer only this percentage of the requests.")
    ] = None,
    reason: Why = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Let a version serve its domain; NAME@0 is the source model."""
    name, number = split_version(version)
    domain = connect(home).domains.get(name)
    if canary is not None:
        chosen = domain.version(number)
        route = chosen.promote(canary=canary, reason=reason)
        lines = [("live", f"{name}@{route.version}"), ("canary", f"{name}@{chosen.number} {canary:g} %")]
        show(output, route, lines)
        note(f"all of it: udair promote {name}@{chosen.number}   none of it: udair route set {name}")
        return
    alias = domain.promote(number, reason=reason)
    show(output, alias, [("live", f"{name}@{alias.version}"), ("was", f"{name}@{domain.champion}")])
    if alias.version != domain.champion:
        note(f"undo: udair rollback {name}")


def rollback(domain: Named, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Let the version that served before serve again."""
    found = connect(home).domains.get(domain)
    alias = found.rollback(reason=reason)
    show(output, alias, [("live", f"{domain}@{alias.version}"), ("was", f"{domain}@{found.champion}")])
    note(f"undo: udair promote {domain}@{found.champion}")
