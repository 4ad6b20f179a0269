"""`udair version`, `udair promote`, `udair rollback`: what there is, what serves, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli.options import DomainName, Format, Home, Output, connect, split_version
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.client import Version

app = typer.Typer(help="Adapter versions.", no_args_is_help=True)
Named = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="e.g. foggy-cams@7, foggy-cams@champion")]
Why = Annotated[str, typer.Option("--reason", "-r", help="For the history.")]


def register(root: typer.Typer) -> None:
    """Add `promote` and `rollback` to the root command."""
    root.command()(promote)
    root.command()(rollback)


@app.command("list")
def list_versions(domain: DomainName, home: Home = "", output: Format = Output.TABLE) -> None:
    """Versions of a domain, newest first."""
    columns = {
        "version": "number",
        "state": None,
        "gate": "verdict",
        "aliases": None,
        "job": "job_id",
        "created": "created_time",
    }
    versions = connect(home).domains.get(domain).versions()
    table(output, versions, columns, empty="no versions; the source model (v0) serves")


@app.command("show")
def show_version(version: Named, home: Home = "", output: Format = Output.TABLE) -> None:
    """One version, with every check of the gate."""
    found = _named(version, home)
    lines = [
        ("version", f"{found.domain}@{found.number}"),
        ("state", found.state),
        ("gate", found.verdict),
        ("aliases", found.aliases),
        ("adapter", found.adapter_digest[:16]),
        ("base", f"{found.base_model.name} {found.base_model.digest[:16]}"),
        ("job", found.job_id),
        ("snapshot", found.snapshot),
        ("created", found.created_time),
        ("reviewed", f"{found.reviewed_by}: {found.review_reason}" if found.reviewed_by else None),
    ]
    for check in found.report().checks:
        verdict = "ok" if check.passed else "FAILED"
        measured = "" if check.measured is None else f"{check.measured:.4g}"
        limit = "" if check.limit is None else f"limit {check.limit:g}"
        lines.append((f"  {check.name}", f"{verdict:<6} {measured:<8} {limit:<14} {check.detail}".rstrip()))
    show(output, found, lines)


@app.command()
def approve(version: Named, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Let a version be promoted that the gate could not judge."""
    decided = _named(version, home).approve(reason=reason)
    _show_decided(decided, output)
    note(f"next: udair promote {decided.domain}@{decided.number}")


@app.command()
def reject(version: Named, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Refuse a version that the gate could not judge, for good."""
    _show_decided(_named(version, home).reject(reason=reason), output)


@app.command()
def archive(version: Named, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Put away a version that nothing points at."""
    _show_decided(_named(version, home).archive(reason=reason), output)


def promote(version: Named, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Let a version serve its domain; NAME@0 is the source model."""
    name, number = split_version(version)
    domain = connect(home).domains.get(name)
    alias = domain.promote(number if number.isdigit() else f"@{number}", reason=reason)
    show(output, alias, [("live", f"{name}@{alias.version}"), ("was", f"{name}@{domain.champion}")])
    if alias.version != domain.champion:
        note(f"undo: udair rollback {name}")


def rollback(
    domain: Annotated[str, typer.Argument(metavar="NAME", help="The domain.")],
    reason: Why = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Let the version that served before serve again."""
    found = connect(home).domains.get(domain)
    alias = found.rollback(reason=reason)
    show(output, alias, [("live", f"{domain}@{alias.version}"), ("was", f"{domain}@{found.champion}")])
    note(f"undo: udair promote {domain}@{found.champion}")


def _named(version: str, home: str) -> Version:
    name, number = split_version(version)
    return connect(home).domains.get(name).version(number if number.isdigit() else f"@{number}")


def _show_decided(version: Version, output: Output) -> None:
    show(output, version, [("version", f"{version.domain}@{version.number}"), ("state", version.state)])
