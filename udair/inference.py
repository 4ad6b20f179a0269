"""Restore images of any size in overlapping tiles, with the degradation seen once on the whole.

Axes: B tiles, C channels, H x W pixels, h x w latent grid.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from udair.errors import ConfigError, ShapeError
from udair.models.degradation import STRIDE, Degradation
from udair.models.modulation import Modulation, stack
from udair.models.restorer import Restorer

TILE = 288
OVERLAP = 32


class Restoration:
    """One image on its way through the model: tiles that are left, and the blend of those that are done.

    Tiles overlap and are blended with a linear ramp, so that no seam shows. Tiles of different images
    have the same shape once both images are larger than a tile: `forward_tiles` mixes them.

    Args:
        image_CHW: RGB in [0, 1], on the model's device.
        whole: How the model sees the image's degradation: `model.embed` of all of it.
        modulation: One row of an adapter; None is the source model.
        tile, overlap: Longest side of a tile, and least overlap with the next, pixels; multiples of 16.

    Raises:
        ShapeError: The image is not (3, H, W).
        ConfigError: Tile and overlap do not fit.
    """

    def __init__(
        self,
        image_CHW: Tensor,
        whole: Degradation,
        modulation: Modulation | None = None,
        *,
        tile: int = TILE,
        overlap: int = OVERLAP,
    ) -> None:
        _check(image_CHW, tile, overlap)
        self.image_CHW, self.whole, self.modulation = image_CHW.float(), whole, modulation
        height, width = image_CHW.shape[1:]
        self.shape = tall, wide = _side(height, tile, overlap), _side(width, tile, overlap)
        self.left = deque((top, x) for top in _starts(height, tall, overlap) for x in _starts(width, wide, overlap))
        self._waiting = len(self.left)
        self._total: Tensor | None = None
        self._weight_HW: Tensor | None = None
        if self._waiting > 1:
            self._total = torch.zeros_like(self.image_CHW)
            self._weight_HW = torch.zeros_like(self.image_CHW[0])
            self._ramp_HW = _ramp(tall, overlap, self.image_CHW)[:, None] * _ramp(wide, overlap, self.image_CHW)

    @property
    def done(self) -> bool:
        """Whether every tile has been blended in."""
        return self._waiting == 0

    def tile_at(self, top: int, left: int) -> Tensor:
        """The pixels of one tile."""
        return self.image_CHW[:, top : top + self.shape[0], left : left + self.shape[1]]

    def blend(self, top: int, left: int, restored_CHW: Tensor) -> None:
        """Take in one restored tile."""
        self._waiting -= 1
        if self._total is None or self._weight_HW is None:
            # An image of one tile is not blended at all: weights would cost it its last bit.
            self._total = restored_CHW
            return
        rows, columns = slice(top, top + self.shape[0]), slice(left, left + self.shape[1])
        self._total[:, rows, columns] += restored_CHW * self._ramp_HW
        self._weight_HW[rows, columns] += self._ramp_HW

    def result(self) -> Tensor:
        """The restored image, RGB, float32, not clamped; every tile must have been blended in."""
        assert self.done, "tiles are left"
        assert self._total is not None
        return self._total if self._weight_HW is None else self._total / self._weight_HW


Tiles = Sequence[tuple[Restoration, tuple[int, int]]]


@torch.inference_mode()
def forward_tiles(model: Restorer, tiles: Tiles) -> None:
    """Restore tiles of one shape together, whatever image and adapter they belong to, and blend them in.

    Args:
        model: A restorer in evaluation mode.
        tiles: Images on their way, each with the corner (top, left) of one of its tiles.
    """
    images = [restoration for restoration, _ in tiles]
    tall, wide = images[0].shape
    pixels_BCHW = torch.stack([restoration.tile_at(*corner) for restoration, corner in tiles])
    seen = _seen([(restoration.whole, corner) for restoration, corner in tiles], tall, wide)
    modulation = together(model, [restoration.modulation for restoration in images])
    for (restoration, corner), restored in zip(tiles, model(pixels_BCHW, modulation, seen), strict=True):
        restoration.blend(*corner, restored.float())


def together(model: Restorer, rows: Sequence[Modulation | None]) -> Modulation | None:
    """Rows of several samples as those of one batch; None is the source model."""
    if all(row is None for row in rows):
        return None
    return stack([model.identity() if row is None else row for row in rows])


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
    """Restore one image of any size. Memory is that of one batch of tiles, plus the image.

    Args:
        model: A restorer in evaluation mode.
        image_CHW: RGB in [0, 1].
        modulation: One row of an adapter; None is the source model.
        tile, overlap: See `Restoration`.
        batch: Tiles at once.
        whole: How the model sees the image's degradation, where the caller knows: `model.embed` of it.

    Returns:
        RGB in [0, 1] of the same size, float32.

    Raises:
        ShapeError: The image is not (3, H, W).
        ConfigError: Tile and overlap do not fit.
    """
    _check(image_CHW, tile, overlap)
    whole = whole or model.embed(image_CHW.float()[None], modulation)
    restoration = Restoration(image_CHW, whole, modulation, tile=tile, overlap=overlap)
    while restoration.left:
        taken = [restoration.left.popleft() for _ in range(min(batch, len(restoration.left)))]
        forward_tiles(model, [(restoration, corner) for corner in taken])
    return restoration.result().clamp(0, 1)


def _check(image_CHW: Tensor, tile: int, overlap: int) -> None:
    if image_CHW.ndim != 3 or image_CHW.shape[0] != 3:
        raise ShapeError("image_CHW", tuple(image_CHW.shape), "(3, H, W)")
    if tile % STRIDE or overlap % STRIDE or not 0 <= overlap <= tile // 2:
        raise ConfigError(f"tile is {tile} and overlap {overlap}; expected multiples of {STRIDE}, overlap <= tile / 2.")


def _side(size: int, tile: int, overlap: int) -> int:
    """Side of the smallest tiles of which no more are needed than of the largest allowed."""
    if size <= tile:
        return size
    count = math.ceil((size - overlap) / (tile - overlap))
    return math.ceil((size + (count - 1) * overlap) / count / STRIDE) * STRIDE


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    # Starts are multiples of the latent stride, so that a tile reads the whole's codes at the same
    # places; only the last tile, which ends at the image's edge, may be off by part of a stride.
    if size <= tile:
        return [0]
    last = size - tile
    regular = list(range(0, last, tile - overlap))
    return [*regular, last] if not regular or regular[-1] != last else regular


def _ramp(size: int, overlap: int, like: Tensor) -> Tensor:
    position = torch.arange(size, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(position, size - position).clamp(max=max(overlap, 1)) / max(overlap, 1)


def _seen(cuts: Sequence[tuple[Degradation, tuple[int, int]]], height: int, width: int) -> Degradation:
    """What each tile is told of its image: the whole's embedding, and its own piece of the whole's codes."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    maps = []
    for whole, (top, left) in cuts:
        first_row = min(top // STRIDE, whole.map_BDhw.shape[2] - rows)
        first_column = min(left // STRIDE, whole.map_BDhw.shape[3] - columns)
        maps.append(whole.map_BDhw[0, :, first_row : first_row + rows, first_column : first_column + columns])
    return Degradation(
        torch.cat([whole.embedding_BD for whole, _ in cuts]),
        torch.stack(maps),
        torch.cat([whole.histogram_BK for whole, _ in cuts]),
        cuts[0][0].commitment,
        torch.cat([whole.inside_B for whole, _ in cuts]),
    )
