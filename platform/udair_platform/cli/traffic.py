"""`udair drift` and `udair cost`: what the data plane saw, and what it took."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from udair_platform.cli.options import Format, Home, Named, Output, connect
from udair_platform.cli.render import note, show, table


def drift(domain: Named, home: Home = "", output: Format = Output.TABLE) -> None:
    """Whether a domain's images still look like those adapted to."""
    found = connect(home).domains.get(domain).drift()
    if not found.windows:
        show(output, found, [("drift", "not known yet: no window of traffic has ended")])
        return
    window = found.windows[0]
    lines: list[tuple[str, Any]] = [("drift", "confirmed" if found.confirmed else "none confirmed")]
    lines += [(name, value) for name, value in window.items() if not isinstance(value, dict | list)]
    show(output, found, lines)
    if found.confirmed:
        note(f"adapt again: udair run -d {domain}   by itself: udair domain update {domain} --on-drift")


def cost(
    domain: Annotated[str | None, typer.Option("--domain", "-d", metavar="NAME", help="Only this one.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """What each domain has had restored and adapted: since the replicas began, and by jobs of the last 30 days."""
    used = [one for one in connect(home).usage() if domain in (None, one.domain)]
    rows = [
        {
            "domain": one.domain,
            "images": one.images,
            "megapixels": round(one.pixels / 1e6, 1),
            "model_s": round(one.forward_s, 1),
            "model_s_per_1000": round(1000 * one.forward_s / one.images, 1) if one.images else None,
            "jobs": one.jobs,
            "job_s": round(one.job_s),
        }
        for one in used
    ]
    columns = dict.fromkeys(("domain", "images", "megapixels", "model_s", "model_s_per_1000", "jobs", "job_s"))
    table(output, rows, columns, empty="nothing has been used yet; udair run, udair restore")
