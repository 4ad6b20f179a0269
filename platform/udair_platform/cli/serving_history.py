"""`udair domain history`: what served when, why, and approved by whom, as a table or as a signed file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Home, Named, Output, connect
from udair_platform.cli.render import note, show, table, text

SUFFIX = ".signature"  # behind the whole name of the file


def history(
    name: Named,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="A date, or a time; UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The same; a date counts whole.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT", help="table, json, yaml; or FILE.csv, FILE.json and FILE.signature."
        ),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Only check FILE against FILE.signature.")
    ] = None,
    home: Home = "",
) -> None:
    """What served when, why, and approved by whom; with -o as a file that the platform signs."""
    if verify is not None:
        _verify(home, verify)
        return
    format = "csv" if out is not None and out.suffix.lower() == ".csv" else "json"
    export = connect(home).domains.get(name).served_history(since=since, until=until, format=format)
    shown = Output(str(out or Output.TABLE)) if str(out or Output.TABLE) in set(Output) else None
    if shown in (Output.JSON, Output.YAML):
        show(shown, export.history(), [])
        return
    if out is None or shown is not None:
        rows = [_row(span.model_dump()) for span in export.history().spans]
        table(shown or Output.TABLE, rows, dict.fromkeys(rows[0]) if rows else {}, empty=f"nothing served {name} then")
        return
    try:
        out.write_bytes(export.data)
        out.with_name(out.name + SUFFIX).write_text(export.signature)
    except OSError as error:
        note(f"{out} cannot be written: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    _verify(home, out)


def _verify(home: str, file: Path) -> None:
    """Check what lies on the disk, as anybody may again later."""
    try:
        data, signature = file.read_bytes(), file.with_name(file.name + SUFFIX).read_text(errors="replace")
    except OSError as error:
        note(f"{error.filename} cannot be read: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    check = connect(home).verify_history(data, signature)
    typer.echo(f"{file}  {check.detail}")
    if not check.genuine:
        raise typer.Exit(exits.ERROR)


def _row(span: dict[str, Any]) -> dict[str, Any]:
    version, answered = span["version"], span["answered"]
    return {
        "from": span["from_time"],
        "to": span["to_time"],
        "served": f"v{answered}" if answered == version else f"v{answered} (for v{version})",
        "as": f"{span['role']} {text(span['percent'])} %" if span["role"] == "canary" else span["role"],
        "gate": span["verdict"],
        "approved by": span["reviewed_by"],
        "let in by": span["actor"],
        "why": "; ".join(part for part in (span["reason"], span["note"]) if part),
    }
