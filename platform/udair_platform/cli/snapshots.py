"""`udair snapshot`: the images that jobs found, pinned."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from udair_platform.cli.options import AsOption, Format, Home, Limit, Output, Place, connect, domain_of
from udair_platform.cli.render import show, table, text

app = typer.Typer(
    help="The images that jobs found. A job takes a snapshot first; `udair run --snapshot` uses one again.",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="e.g. s-5f0c1e2ab94d")]


@app.command("list")
def list_snapshots(
    place: Place = "", domain: AsOption = "", limit: Limit = 20, home: Home = "", output: Format = Output.TABLE
) -> None:
    """Snapshots of a domain, newest first."""
    found = list(connect(home).domains.get(domain_of(place, domain)).snapshots(limit=limit))
    if output in (Output.JSON, Output.YAML):
        table(output, found, {}, empty="")
        return
    rows = [
        {
            "snapshot": item.id,
            "state": item.state,
            "images": (item.summary or {}).get("images"),
            "job": item.job_id,
            "created": item.created_time,
            "detail": item.detail,
        }
        for item in found
    ]
    columns: dict[str, str | None] = dict.fromkeys(("snapshot", "state", "images", "job", "created", "detail"))
    table(output, rows, columns, empty="no snapshots; a job takes one: udair run")


@app.command("show")
def show_snapshot(
    snapshot: Id, place: Place = "", domain: AsOption = "", home: Home = "", output: Format = Output.TABLE
) -> None:
    """One snapshot: what was found, and what was skipped and why."""
    found = connect(home).domains.get(domain_of(place, domain)).snapshot(snapshot)
    lines = [
        ("snapshot", found.id),
        ("state", found.state),
        ("job", found.job_id),
        ("digest", found.digest),
        ("created", found.created_time),
        *((f"  {name}", value) for name, value in _flat(found.summary or {})),
    ]
    show(output, found, [*lines, ("detail", found.detail)] if found.detail else lines)


@app.command()
def diff(
    one: Id, other: Id, place: Place = "", domain: AsOption = "", home: Home = "", output: Format = Output.TABLE
) -> None:
    """What differs between two snapshots."""
    source = connect(home).domains.get(domain_of(place, domain))
    before, after = (dict(_flat(source.snapshot(id).summary or {})) for id in (one, other))
    rows = [
        {"what": name, one: before.get(name), other: after.get(name)}
        for name in dict.fromkeys([*before, *after])
        if text(before.get(name)) != text(after.get(name))
    ]
    table(output, rows, dict.fromkeys(("what", one, other)), empty="nothing differs")


def _flat(summary: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for name, value in summary.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{before}{name}.")
        else:
            lines.append((f"{before}{name}", value))
    return lines
