"""`udair restore`: one image through what serves a domain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import DomainName, Home, connect
from udair_platform.cli.render import note


def register(root: typer.Typer) -> None:
    """Add `restore` to the root command."""
    root.command()(restore)


def restore(
    image: Annotated[Path, typer.Argument(metavar="IN", help="PNG, JPEG, WebP, TIFF or BMP.")],
    domain: DomainName,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Where to write the result.")],
    home: Home = "",
) -> None:
    """Restore one image."""
    try:
        data = image.read_bytes()
    except OSError as error:
        note(f"{image} cannot be read: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    restored = connect(home).restore(data, domain)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target first: an interrupted write leaves no half image under its name.
        part = out.with_name(f".{out.name}.{os.getpid()}")
        part.write_bytes(restored.image)
        part.replace(out)
    except OSError as error:
        note(f"{out} cannot be written: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
    typer.echo(f"{out}  {domain}@{restored.version or '?'}")
