"""A contact sheet: the middles of some pictures, a row each, a column for each way to restore them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from udair.data.images import ImageArray

SIDE = 256  # of a cell, pixels: damage is fine, so cells are cut, not scaled
HEAD, GAP = 28, 4
TRUTH = "truth"


def contact_sheet(rows: Sequence[tuple[str, Mapping[str, ImageArray]]]) -> bytes:
    """A JPEG file.

    Args:
        rows: Name of a picture, and the picture by column. The first row says which columns there are.
    """
    names = list(rows[0][1])
    width = len(names) * (SIDE + GAP) + GAP
    height = HEAD + len(rows) * (SIDE + HEAD + GAP)
    sheet = Image.new("RGB", (width, height), (24, 24, 24))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, name in enumerate(names):
        pen.text((GAP + column * (SIDE + GAP), 6), name, fill=(255, 255, 255), font=font)
    for row, (key, pictures) in enumerate(rows):
        top = HEAD + row * (SIDE + HEAD + GAP)
        pen.text((GAP, top + 4), key, fill=(190, 190, 190), font=font)
        for column, name in enumerate(names):
            if name in pictures:
                sheet.paste(Image.fromarray(_middle(pictures[name])), (GAP + column * (SIDE + GAP), top + HEAD))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def _middle(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    top, left = max(0, height - SIDE) // 2, max(0, width - SIDE) // 2
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])
