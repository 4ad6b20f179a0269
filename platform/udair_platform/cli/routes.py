"""`udair route`: what answers a domain's requests beside its champion, and which replicas are ready for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli.options import Format, Home, Named, Output, Why, connect
from udair_platform.cli.render import note, show

if TYPE_CHECKING:
    from udair_platform.client import Domain, Route
    from udair_platform.contract.domains import Share

MinReady = Annotated[
    int | None,
    typer.Option(min=0, help="Replicas that have its adapters before they are asked for them; 0: as they are asked."),
]
app = typer.Typer(help="Canaries, shadows and pinned adapters of a domain.", no_args_is_help=True)


@app.command("show")
def show_route(domain: Named, home: Home = "", output: Format = Output.TABLE) -> None:
    """What serves a domain, and what besides."""
    _show(domain, connect(home).domains.get(domain).route(), output)


@app.command("set")
def set_route(
    domain: Named,
    canary: Annotated[
        str | None, typer.Option(metavar="VERSION:PERCENT", help="Answers its share, e.g. 7:10; '' is none.")
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(metavar="VERSION:PERCENT", help="Restores its share a second time; answers nobody; '' is none."),
    ] = None,
    pinned: Annotated[
        bool | None, typer.Option("--pinned/--no-pinned", help="Keep the adapters resident in every replica.")
    ] = None,
    min_ready: MinReady = None,
    auto_rollback: Annotated[
        bool | None,
        typer.Option(
            "--canary-auto-rollback/--no-canary-auto-rollback",
            help="Take a canary away by itself that surely restores worse than the champion.",
        ),
    ] = None,
    reason: Why = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Share out a domain's requests; what is not given stays as it is."""
    shares = {name: _share(share) for name, share in (("canary", canary), ("shadow", shadow)) if share is not None}
    settings = {"pinned": pinned, "min_ready": min_ready, "canary_auto_rollback": auto_rollback}
    found = connect(home).domains.get(domain)
    _show(domain, share_out(found, reason, **shares, **{k: v for k, v in settings.items() if v is not None}), output)
    note(f"champion alone: udair route set {domain} --canary '' --shadow ''")


def share_out(domain: Domain, reason: str = "", **given: Any) -> Route:
    """Change what is given of a domain's route; the API sets one as a whole."""
    now = domain.route()
    kept: dict[str, Any] = {name: getattr(now, name) for name in ("pinned", "min_ready", "canary_auto_rollback")}
    shares = {"canary": _kept(now.canary), "shadow": _kept(now.shadow)}
    return domain.set_traffic(**kept | shares | given, reason=reason)


def _show(domain: str, route: Route, output: Output) -> None:
    lines = [
        ("domain", domain),
        ("state", route.state),
        ("tone", route.tone),
        ("out of use", route.out_of_use or None),
        ("as it came", route.passthrough or None),
        ("live", f"{domain}@{route.version}"),
        ("holders", route.holders),
        ("min ready", route.min_ready),
        ("not held", route.unheld or None),
        ("canary", _said(domain, route.canary)),
        ("shadow", _said(domain, route.shadow)),
        ("pinned", route.pinned),
    ]
    if route.canary_auto_rollback:
        lines.append(("rolls back", "a canary that restores worse, by itself"))
    show(output, route, lines)


def _said(domain: str, share: Share | None) -> str | None:
    return None if share is None else f"{domain}@{share.version} {share.percent:g} %"


def _kept(share: Share | None) -> tuple[int, float] | None:
    return None if share is None else (share.version, share.percent)


def _share(share: str) -> tuple[int, float] | None:
    if not share:
        return None
    version, _, percent = share.partition(":")
    try:
        return int(version), float(percent)
    except ValueError:
        raise typer.BadParameter(f"{share!r} is no share; expected VERSION:PERCENT, e.g. 7:10.") from None
