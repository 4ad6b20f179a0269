"""`udair drift` and `udair cost`: what the data plane saw, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli.options import Format, Home, Named, Output, connect
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.client import Domain


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
    """What each domain has had restored and adapted: since the replicas began, and by its jobs."""
    client = connect(home)
    domains = [client.domains.get(domain)] if domain else client.domains.list()
    rows = [_cost(one) for one in domains]
    columns = dict.fromkeys(("domain", "images", "megapixels", "model_s", "model_s_per_1000", "jobs", "job_s"))
    table(output, rows, columns, empty="no domains yet; udair domain create")


def _cost(domain: Domain) -> dict[str, Any]:
    usage = domain.usage()
    seconds = [
        (job.finished_time - job.started_time).total_seconds()
        for job in domain.jobs()
        if job.started_time and job.finished_time
    ]
    per_1000 = 1000 * usage.forward_s / usage.images if usage.images else None
    return {
        "domain": domain.name, "images": usage.images, "megapixels": round(usage.pixels / 1e6, 1),
        "model_s": round(usage.forward_s, 1), "model_s_per_1000": per_1000 and round(per_1000, 1),
        "jobs": len(seconds), "job_s": round(sum(seconds)),
    }  # fmt: skip
