"""`udair route`: what answers a domain's requests beside its champion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli.options import Format, Home, Named, Output, Why, connect
from udair_platform.cli.render import note, show

if TYPE_CHECKING:
    from udair_platform.client import Route
    from udair_platform.contract.domains import Share

app = typer.Typer(help="Canaries, shadows and pinned adapters of a domain.", no_args_is_help=True)


@app.command("show")
def show_route(domain: Named, home: Home = "", output: Format = Output.TABLE) -> None:
    """What serves a domain, and what besides."""
    _show(domain, connect(home).domains.get(domain).route(), output)


@app.command("set")
def set_route(
    domain: Named,
    canary: Annotated[str, typer.Option(metavar="VERSION:PERCENT", help="Answers its share, e.g. 7:10.")] = "",
    shadow: Annotated[
        str, typer.Option(metavar="VERSION:PERCENT", help="Restores its share a second time; answers nobody.")
    ] = "",
    pinned: Annotated[bool, typer.Option("--pinned", help="Keep the adapters resident in every replica.")] = False,
    reason: Why = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Share out a domain's requests; what is not given is taken away."""
    shares = {"canary": _share(canary), "shadow": _share(shadow)}
    route = connect(home).domains.get(domain).set_traffic(**shares, pinned=pinned, reason=reason)
    _show(domain, route, output)
    note(f"champion alone: udair route set {domain}")


def _show(domain: str, route: Route, output: Output) -> None:
    lines = [
        ("domain", domain),
        ("state", route.state),
        ("live", f"{domain}@{route.version}"),
        ("canary", _said(domain, route.canary)),
        ("shadow", _said(domain, route.shadow)),
        ("pinned", route.pinned),
    ]
    show(output, route, lines)


def _said(domain: str, share: Share | None) -> str | None:
    return None if share is None else f"{domain}@{share.version} {share.percent:g} %"


def _share(text: str) -> tuple[int, float] | None:
    if not text:
        return None
    version, _, percent = text.partition(":")
    try:
        return int(version), float(percent)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no share; expected VERSION:PERCENT, e.g. 7:10.") from None
