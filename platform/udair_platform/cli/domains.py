"""`udair domain`: the places that are adapted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.client import Domain
    from udair_platform.contract.domains import ScheduleStatus

app = typer.Typer(help="Places to adapt to.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="3 to 63 of a-z, 0-9 and '-'.")]
Cron = Annotated[str | None, typer.Option(help="Adapt then, five fields in UTC, e.g. '0 3 * * 1'; '' is never.")]
OnDrift = Annotated[bool | None, typer.Option("--on-drift/--no-on-drift", help="Adapt when its images have drifted.")]


@app.command()
def create(
    name: Name,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="s3://bucket/prefix of its images; without it they are uploaded."),
    ] = None,
    gate: Annotated[str, typer.Option(help="standard or strict.")] = "standard",
    four_eyes: Annotated[
        bool, typer.Option("--four-eyes", help="Who submitted a job may not let its version serve.")
    ] = False,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    role_arn: Annotated[str | None, typer.Option(help="A role of yours that reads the source.")] = None,
    cron: Cron = None,
    on_drift: OnDrift = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Register a domain; the source model serves it until a version is promoted."""
    rules = {"policy": gate, "four_eyes": four_eyes}
    domain = connect(home).domains.create(
        name, source, gate=rules, description=description, role_arn=role_arn, schedule=_schedule(cron, on_drift)
    )
    lines = [("domain", domain.name), ("source", domain.source_uri), ("gate", domain.gate.policy)]
    if role_arn:
        lines.append(("external id", f"{domain.external_id}  (the role's trust policy must ask for it)"))
    show(output, domain, lines)
    note(f"next: udair domain check {domain.name}   udair run -d {domain.name}")


@app.command()
def update(
    name: Name,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    gate: Annotated[str | None, typer.Option(help="standard or strict.")] = None,
    limits: Annotated[
        list[str] | None, typer.Option("--limit", metavar="CHECK=VALUE", help="A limit of the gate; repeatable.")
    ] = None,
    four_eyes: Annotated[
        bool | None, typer.Option("--four-eyes/--no-four-eyes", help="Only an admin takes it away.")
    ] = None,
    cron: Cron = None,
    on_drift: OnDrift = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Change a domain; what is not given stays as it is."""
    domain = connect(home).domains.get(name)
    rules: dict[str, Any] = {"policy": gate, "four_eyes": four_eyes, "limits": _limits(limits or []) or None}
    rules = {key: value for key, value in rules.items() if value is not None}
    schedule = _schedule(cron, on_drift)
    if schedule is not None:
        schedule = domain.schedule.model_dump(exclude={"next_run_time"}) | schedule
    _show(domain.change(description=description, gate=rules or None, schedule=schedule), output)


@app.command()
def check(name: Name, home: Home = "", output: Format = Output.TABLE) -> None:
    """Try what a job will do first: take the role, list the images, read one. Ends with 1 if that fails."""
    found = connect(home).domains.get(name).check_access()
    table(output, found.steps, {"step": "name", "ok": None, "detail": None}, empty="")
    if not found.ok:
        note(
            exits.format_error(
                f"A job could not read the images of {name}.", "the step above failed", "docs/how-to/adapt.md"
            )
        )
        raise typer.Exit(exits.ERROR)


@app.command("list")
def list_domains(
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many; default all.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Domains, oldest first."""
    columns = {"name": None, "serves": "champion", "source": "source_uri", "created": "created_time"}
    table(output, connect(home).domains.list(limit=limit), columns, empty="no domains yet; udair domain create")


@app.command("show")
def show_domain(name: Name, home: Home = "", output: Format = Output.TABLE) -> None:
    """One domain."""
    _show(connect(home).domains.get(name), output)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = "",
) -> None:
    """End a domain: it is no longer served. Its history and stored objects stay."""
    if not yes:
        typer.confirm(f"Stop serving {name} and end it?", abort=True, err=True)
    connect(home).domains.get(name).delete()
    note(f"domain {name} deleted")


def _show(domain: Domain, output: Output) -> None:
    lines = [
        ("domain", domain.name),
        ("source", domain.source_uri),
        ("serves", _serves(domain.champion)),
        ("aliases", domain.aliases),
        ("gate", f"{domain.gate.policy} {domain.gate.limits or ''}".strip()),
        ("four eyes", domain.gate.four_eyes),
        ("schedule", _said(domain.schedule)),
        ("about", domain.description),
        ("created", domain.created_time),
    ]
    show(output, domain, lines)


def _schedule(cron: str | None, on_drift: bool | None) -> dict[str, Any] | None:
    given = {"cron": cron, "on_drift": on_drift}
    return {name: value for name, value in given.items() if value is not None} or None


def _said(schedule: ScheduleStatus) -> str | None:
    parts = [f"cron {schedule.cron}" if schedule.cron else "", "on drift" if schedule.on_drift else ""]
    return ", ".join(part for part in parts if part) or None


def _limits(pairs: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (pair.split("=", 1) for pair in pairs)}
    except ValueError:
        raise typer.BadParameter(
            f"--limit {' '.join(pairs)}: expected CHECK=VALUE, e.g. min_matched_gain_db=0.8."
        ) from None


def _serves(version: int) -> str:
    return f"v{version}" if version else "v0 (the source model)"
