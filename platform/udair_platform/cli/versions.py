"""`udair version`: what jobs made, looked at, compared, decided on, and taken home."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import (
    AsOption,
    Format,
    Home,
    NamedVersion,
    Output,
    Place,
    Why,
    connect,
    domain_of,
    split_version,
)
from udair_platform.cli.outcome import check_line, explain
from udair_platform.cli.render import note, show, table, text

if TYPE_CHECKING:
    from udair_platform.client import Version

app = typer.Typer(help="Adapter versions, before and after.", no_args_is_help=True)


@app.command("list")
def list_versions(place: Place = "", domain: AsOption = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Versions of a domain, newest first."""
    columns = {
        "version": "number",
        "state": None,
        "gate": "verdict",
        "aliases": None,
        "job": "job_id",
        "created": "created_time",
    }
    versions = connect(home).domains.get(domain_of(place, domain)).versions()
    table(output, versions, columns, empty="no versions; the source model (v0) serves")


@app.command("show")
def show_version(version: NamedVersion, home: Home = "", output: Format = Output.TABLE) -> None:
    """One version, with every check of the gate."""
    found = named(version, home)
    checks = found.report().checks
    lines = [
        ("version", f"{found.domain}@{found.number}"),
        ("state", found.state),
        ("gate", found.verdict),
        ("aliases", found.aliases),
        ("adapter", found.adapter_digest[:16]),
        ("base", f"{found.base_model.name} {found.base_model.digest[:16]}"),
        ("job", found.job_id),
        ("snapshot", found.snapshot_id),
        ("created", found.created_time),
        ("reviewed", f"{found.reviewed_by}: {found.review_reason}" if found.reviewed_by else None),
        *((f"  {check.name}", check_line(check)) for check in checks),
    ]
    show(output, found, lines, words=found.words)
    explain(checks)


@app.command()
def compare(one: NamedVersion, other: NamedVersion, home: Home = "", output: Format = Output.TABLE) -> None:
    """Two versions side by side: what they were made of and what the gate measured."""
    both = [named(one, home), named(other, home)]
    sides = [{**_made_of(version), **_measured(version)} for version in both]
    names = [f"{version.domain}@{version.number}" for version in both]
    rows = [
        {"what": what, names[0]: sides[0].get(what), names[1]: sides[1].get(what)}
        for what in dict.fromkeys([*sides[0], *sides[1]])
    ]
    if output is Output.TABLE:
        rows = [row | {"": "" if text(row[names[0]]) == text(row[names[1]]) else "differs"} for row in rows]
    table(output, rows, dict.fromkeys(rows[0]), empty="")


@app.command()
def gallery(
    version: NamedVersion,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; default: NAME-VERSION-gallery.html.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show the first images in the terminal.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many images.")] = None,
    home: Home = "",
) -> None:
    """Pictures before and after, the worst first, as one page that needs nothing else."""
    found = named(version, home).gallery(limit=limit)
    if preview:
        from udair_platform.cli.preview import show_gallery

        show_gallery(found)
        if out is None and not open_it:
            return
    target = out or Path(f"{found.name.replace('@', '-')}-gallery.html")
    try:
        found.save(target)
    except OSError as error:
        note(f"{target} cannot be written: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    typer.echo(f"{target}  {len(found)} images")
    if open_it and not webbrowser.open(target.absolute().as_uri()):
        note(f"there is no browser here; open {target.absolute()} in one")


@app.command()
def pull(
    version: NamedVersion,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder; default: NAME-VERSION.")] = None,
    home: Home = "",
    output: Annotated[Output, typer.Option("--output", help="How to list the files.")] = Output.TABLE,
) -> None:
    """Download a version's files, and check them against their digests."""
    found = named(version, home)
    folder = out or Path(f"{found.domain}-{found.number}")
    try:
        files = found.download(folder)
    except OSError as error:
        note(f"{folder} cannot be written: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    table(output, files, {"name": None, "bytes": "size_bytes", "sha256": None}, empty="no files")
    note(f"{len(files)} files in {folder}; every digest is right")


@app.command()
def lineage(version: NamedVersion, home: Home = "", output: Format = Output.TABLE) -> None:
    """From the images through job, recipe, code and base model to when it served."""
    found = named(version, home).lineage()
    lines = [
        ("version", found.version),
        ("adapter", found.adapter_digest),
        ("gate", found.verdict),
        ("job", f"{found.job_id}, {found.attempts} attempts, by {found.cause_actor}"),
        ("recipe", found.recipe),
        ("snapshot", f"{found.snapshot_id} {(found.snapshot_digest or '')[:16]}"),
        ("images", found.images),
        ("base", f"{found.base_model.name} {found.base_model.digest}"),
        ("code", found.code_version),
        *(
            ("served", f"{text(move.time)}  {move.from_version} -> {move.to_version}  {move.actor}")
            for move in found.served
        ),
    ]
    show(output, found, lines)


@app.command()
def approve(version: NamedVersion, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Let a version be promoted that the gate could not judge."""
    decided = named(version, home).approve(reason=reason)
    _show_decided(decided, output)
    note(f"next: udair promote {decided.domain}@{decided.number}")


@app.command()
def reject(version: NamedVersion, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Refuse a version that the gate could not judge, for good."""
    _show_decided(named(version, home).reject(reason=reason), output)


@app.command()
def archive(version: NamedVersion, reason: Why = "", home: Home = "", output: Format = Output.TABLE) -> None:
    """Put away a version that nothing points at."""
    _show_decided(named(version, home).archive(reason=reason), output)


def named(version: str, home: str) -> Version:
    """The version that ``NAME@VERSION`` names."""
    domain, name = split_version(version)
    return connect(home).domains.get(domain).version(name)


def _made_of(version: Version) -> dict[str, Any]:
    found = version.lineage()
    return {
        "state": version.state,
        "gate": version.verdict,
        "snapshot": found.snapshot_id,
        "images": found.images,
        "base": found.base_model.name,
        "code": found.code_version,
        **{f"recipe {name}": value for name, value in found.recipe.items()},
    }


def _measured(version: Version) -> dict[str, Any]:
    return {
        check.name: check.measured if check.measured is not None else check.passed for check in version.report().checks
    }


def _show_decided(version: Version, output: Output) -> None:
    show(output, version, [("version", f"{version.domain}@{version.number}"), ("state", version.state)])
