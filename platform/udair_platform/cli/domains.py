"""`udair domain`: the places that are adapted to."""

from __future__ import annotations

from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show, table

app = typer.Typer(help="Places to adapt to.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="3 to 63 of a-z, 0-9 and '-'.")]


@app.command()
def create(
    name: Name,
    source: Annotated[str, typer.Option("--source", "-s", help="s3://bucket/prefix of its images.")],
    gate: Annotated[str, typer.Option(help="standard or strict.")] = "standard",
    four_eyes: Annotated[
        bool, typer.Option("--four-eyes", help="Who submitted a job may not let its version serve.")
    ] = False,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Register a domain; the source model serves it until a version is promoted."""
    rules = {"policy": gate, "four_eyes": four_eyes}
    domain = connect(home).domains.create(name, source, gate=rules, description=description)
    show(output, domain, [("domain", domain.name), ("source", domain.source_uri), ("gate", domain.gate.policy)])
    note(f"next: udair run -d {domain.name}")


@app.command("list")
def list_domains(home: Home = "", output: Format = Output.TABLE) -> None:
    """Domains, oldest first."""
    columns = {"name": None, "serves": "champion", "source": "source_uri", "created": "created_time"}
    table(output, connect(home).domains.list(), columns, empty="no domains yet; udair domain create")


@app.command("show")
def show_domain(name: Name, home: Home = "", output: Format = Output.TABLE) -> None:
    """One domain."""
    domain = connect(home).domains.get(name)
    lines = [
        ("domain", domain.name),
        ("source", domain.source_uri),
        ("serves", _serves(domain.champion)),
        ("aliases", domain.aliases),
        ("gate", f"{domain.gate.policy} {domain.gate.limits or ''}".strip()),
        ("created", domain.created_time),
    ]
    show(output, domain, lines)


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


def _serves(version: int) -> str:
    return f"v{version}" if version else "v0 (the source model)"
