"""Restore images of any size in overlapping tiles, with the degradation seen once on the whole.

Axes: B tiles, C channels, H x W pixels, h x w latent grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from udair.errors import ConfigError, ShapeError
from udair.models.degradation import STRIDE, Degradation
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer

TILE = 256
OVERLAP = 32


@torch.inference_mode()
def restore(
    model: Restorer,
    image_CHW: Tensor,
    modulation: Modulation | None = None,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    batch: int = 4,
    whole: Degradation | None = None,
) -> Tensor:
    """Restore one image of any size.

    Tiles overlap and are blended with a linear ramp, so that no seam shows. Memory is that of one
    batch of tiles, plus the image.

    Args:
        model: A restorer in evaluation mode.
        image_CHW: RGB in [0, 1].
        modulation: One row of an adapter; None is the source model.
        tile, overlap: Side of a tile and of its overlap with the next, pixels; multiples of 16.
        batch: Tiles at once.
        whole: How the model sees the image's degradation, where the caller knows: `model.embed` of it.

    Returns:
        RGB in [0, 1] of the same size, float32.

    Raises:
        ShapeError: The image is not (3, H, W).
        ConfigError: Tile and overlap do not fit.
    """
    if image_CHW.ndim != 3 or image_CHW.shape[0] != 3:
        raise ShapeError("image_CHW", tuple(image_CHW.shape), "(3, H, W)")
    if tile % STRIDE or overlap % STRIDE or not 0 <= overlap <= tile // 2:
        raise ConfigError(f"tile is {tile} and overlap {overlap}; expected multiples of {STRIDE}, overlap <= tile / 2.")
    image_CHW = image_CHW.float()
    whole = whole or model.embed(image_CHW[None], modulation)
    height, width = image_CHW.shape[1:]
    if height <= tile and width <= tile:
        return model(image_CHW[None], modulation, whole)[0].clamp(0, 1)  # type: ignore[no-any-return]
    tall, wide = min(tile, height), min(tile, width)
    corners = [(top, left) for top in _starts(height, tall, overlap) for left in _starts(width, wide, overlap)]
    total = torch.zeros_like(image_CHW)
    weight_HW = torch.zeros_like(image_CHW[0])
    ramp_HW = _ramp(tall, overlap, image_CHW)[:, None] * _ramp(wide, overlap, image_CHW)[None, :]
    for first in range(0, len(corners), batch):
        chosen = corners[first : first + batch]
        tiles = torch.stack([image_CHW[:, t : t + tall, x : x + wide] for t, x in chosen])
        seen = _cut(whole, chosen, tall, wide)
        for (top, left), restored in zip(chosen, model(tiles, modulation, seen), strict=True):
            total[:, top : top + tall, left : left + wide] += restored * ramp_HW
            weight_HW[top : top + tall, left : left + wide] += ramp_HW
    return (total / weight_HW).clamp(0, 1)


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    # Starts are multiples of the latent stride, so that a tile reads the whole's codes at the same
    # places; only the last tile, which ends at the image's edge, may be off by part of a stride.
    last = max(0, size - tile)
    regular = list(range(0, last, tile - overlap))
    return [*regular, last] if not regular or regular[-1] != last else regular


def _ramp(size: int, overlap: int, like: Tensor) -> Tensor:
    position = torch.arange(size, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(position, size - position).clamp(max=max(overlap, 1)) / max(overlap, 1)


def _cut(whole: Degradation, corners: list[tuple[int, int]], height: int, width: int) -> Degradation:
    count = len(corners)
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    maps = []
    for top, left in corners:
        first_row = min(top // STRIDE, whole.map_BDhw.shape[2] - rows)
        first_column = min(left // STRIDE, whole.map_BDhw.shape[3] - columns)
        maps.append(whole.map_BDhw[0, :, first_row : first_row + rows, first_column : first_column + columns])
    return Degradation(
        whole.embedding_BD.expand(count, -1),
        torch.stack(maps),
        whole.histogram_BK.expand(count, -1),
        whole.commitment,
        whole.inside_B.expand(count),
    )
