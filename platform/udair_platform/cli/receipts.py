"""`udair receipt`: whether a picture is what the platform answered with, and what made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show

SUFFIX = ".receipt"  # behind the whole name of the picture
app = typer.Typer(help="Receipts of pictures: what made them, signed.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Receipts of pictures: what made them, signed."""


@app.command()
def verify(
    picture: Annotated[Path, typer.Argument(metavar="FILE", help="The restored picture.")],
    receipt: Annotated[Path | None, typer.Option("--receipt", help="Its receipt; default: FILE.receipt.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Check a picture against its receipt, and the receipt against the platform.

    `udair restore IN NAME -o FILE --receipts` writes FILE and FILE.receipt.
    """
    from udair_platform.client import Receipt

    data = _read(picture)
    text = _read(receipt or picture.with_name(picture.name + SUFFIX)).decode(errors="replace").strip()
    try:
        same = Receipt.parse(text).matches(data)
    except ValueError as error:
        note(str(error))
        raise typer.Exit(exits.ERROR) from None
    check = connect(home).verify_receipt(text)
    said = check.receipt
    lines = [
        ("picture", f"{picture}: {'the very bytes of the answer' if same else 'NOT the bytes of the answer'}"),
        ("signature", "of this platform" if check.genuine else "NOT of this platform"),
        ("version", f"{said.domain}@{said.version}" if said else None),
        ("made by", _maker(said.restoration, said.fallback, said.adapter_digest) if said else None),
        ("base", said.base_digest[:16] if said else None),
        ("tone", said.tone if said else None),
        ("request", said.request_id if said else None),
        ("time", said.time if said else None),
        ("now", check.detail),
    ]
    show(output, check.model_dump(mode="json") | {"picture_matches": same}, lines)
    if not (same and check.genuine):
        raise typer.Exit(exits.ERROR)


def _maker(restoration: str, fallback: str, adapter_digest: str | None) -> str:
    made = f"adapter {adapter_digest[:16]}" if adapter_digest else "the base model alone"
    if restoration == "none":
        made = "nothing: it was served as it came"
    return made if fallback == "none" else f"{made} (fallback: {fallback})"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        note(f"{path} cannot be read: {error.strerror}.")
        raise typer.Exit(exits.ERROR) from None
