"""`udair drift`, `udair cost` and `udair domain metrics`: what the data plane saw, and what it took."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from udair_platform.cli.options import AsOption, Format, Home, Named, OnePlace, Output, connect, domain_of
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
        note(f"adapt again: udair run {domain}   by itself: udair domain update {domain} --on-drift")


def metrics(
    name: Named,
    period: Annotated[str, typer.Option(help="The last hour, day, week, or month of four weeks.")] = "day",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """What was restored over time, and how long it took: waiting and model, without decoding and the way."""
    found = connect(home).domains.get(name).metrics(period)
    if output in (Output.JSON, Output.YAML):
        show(output, found, [])
        return
    rows = [
        {"begin": one.begin_time, "images": one.images, "images_per_s": one.images_per_s, "errors": one.errors}
        | {f"{name}_ms": _ms(getattr(one, f"{name}_s")) for name in ("p50", "p95", "p99")}
        for one in found.points
        if one.images or one.errors
    ]
    table(
        output,
        rows,
        dict.fromkeys(rows[0]) if rows else {},
        empty=f"nothing of {name} was restored in the last {period}",
    )


def cost(
    place: OnePlace = "",
    domain: AsOption = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """What each domain has had restored and adapted: since the replicas began, and by jobs of the last 30 days."""
    wanted = domain_of(place, domain) if place or domain else ""
    used = [one for one in connect(home).usage() if wanted in ("", one.domain)]
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


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
