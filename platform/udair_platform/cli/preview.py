"""Pictures in the terminal, where it can show any: real pixels (kitty, sixel), half blocks elsewhere."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from udair_platform.cli.render import note

if TYPE_CHECKING:
    from PIL.Image import Image

    from udair_platform.client import Gallery

_SHOWN = 3  # images of a gallery: more than that scrolls away
_GAP = 8  # pixels


def show_pair(before: bytes, after: bytes) -> None:
    """An image before and after, side by side."""
    from PIL import Image

    _show([_side_by_side([Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after))])], "before, after")


def show_gallery(gallery: Gallery) -> None:
    """The first images of a gallery: camera, source model, adapted."""
    rows = []
    for item in gallery.items[:_SHOWN]:
        pictures = [gallery.picture(item, kind) for kind in ("camera", "source", "adapted")]
        rows.append(_side_by_side([picture for picture in pictures if picture is not None]))
    _show(rows, "camera, source model, adapted")


def _show(pictures: list[Image], message: str) -> None:
    if not sys.stdout.isatty():
        note("no preview: stdout is no terminal")
        return
    from rich.console import Console
    from textual_image.renderable import Image as Renderable

    console = Console()
    for picture in pictures:
        console.print(Renderable(picture, width=min(console.width, 120)))
    note(message)


def _side_by_side(pictures: list[Image]) -> Image:
    from PIL import Image

    height = max(picture.height for picture in pictures)
    row = Image.new("RGB", (sum(picture.width + _GAP for picture in pictures) - _GAP, height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture.convert("RGB"), (left, 0))
        left += picture.width + _GAP
    return row
