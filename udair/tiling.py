"""How a picture is cut: whole where it fits the memory budget, else in pieces that overlap by what each of them sees."""

from __future__ import annotations

import math
from typing import NamedTuple

from udair.errors import ConfigError
from udair.models.restorer import Restorer

BUDGET_BYTES = 2 * 2**30
ENDPOINT_PIECE_BYTES = 160 * 2**20  # 0.4 megapixels of the model `base`: a step of about two seconds on one core
# Feature maps as large as the finest level's that a forward pass holds at once: input, two convolutions' answers, a
# skip, and the copies that convolution libraries make. Measured; tests/udair/test_inference.py holds it to that.
LIVE_MAPS = 6
LARGEST_TILE, SMALLEST_TILE = 1024, 256  # pixels
BAND_POSITIONS = 2**15  # of the deep part that a band holds


class Piece(NamedTuple):
    """A part of the work on one picture; `top` and `left` are pixels of the padded picture."""

    top: int
    left: int


class Plan(NamedTuple):
    """How a picture is run.

    Attributes:
        whole: In one pass.
        tile: Sides of a piece, pixels; of all of it where `whole`.
        piece_bytes: Working memory of one piece.
        deep_bytes: Memory that the deep part holds from the first piece to the last; 0 where `whole`.
        padded: Sides of the picture, padded to the model's stride, pixels.
        reach: Half of how far from its edge a piece is wrong, pixels (`Restorer.reach`).
    """

    whole: bool
    tile: tuple[int, int]
    piece_bytes: int
    deep_bytes: int
    padded: tuple[int, int]
    reach: int

    def pieces(self) -> list[Piece]:
        """All of them, row by row."""
        rows, columns = (_starts(size, side, 4 * self.reach) for size, side in zip(self.padded, self.tile, strict=True))
        return [Piece(top, left) for top in rows for left in columns]

    def core(self, piece: Piece, unit: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a piece is right, in the picture and in itself, in units of `unit` pixels.

        At the picture's edges that is up to the edge: the whole has nothing beyond it either.
        """
        into, of = [], []
        for start, side, size in zip(piece, self.tile, self.padded, strict=True):
            first = 0 if start == 0 else 2 * self.reach
            last = side if start + side == size else side - 2 * self.reach
            into.append(slice((start + first) // unit, (start + last) // unit))
            of.append(slice(first // unit, last // unit))
        return (into[0], into[1]), (of[0], of[1])

    def place(self, piece: Piece, unit: int) -> tuple[slice, slice]:
        """All of a piece in the picture, in units of `unit` pixels."""
        (top, left), (tall, wide) = (start // unit for start in piece), (side // unit for side in self.tile)
        return slice(top, top + tall), slice(left, left + wide)


def plan(
    model: Restorer, height: int, width: int, budget_bytes: int = BUDGET_BYTES, piece_bytes: int | None = None
) -> Plan:
    """Whole if that fits the budget, else in pieces as large as it allows.

    Args:
        model: The base model.
        height, width: Of the picture, pixels.
        budget_bytes: Working memory beside the picture and its answer (24 bytes a pixel). It is that of one
            piece; who runs several together multiplies.
        piece_bytes: Working memory of one piece, where that shall be less than the budget allows: who runs other
            pictures between two pieces makes them wait for less.

    Raises:
        ConfigError: The picture cannot be run within the budget, even in the smallest pieces.
    """
    stride = model.config.stride
    tall, wide = (side + -side % stride for side in (height, width))
    whole_bytes, piece_limit = _pass_bytes(model, tall, wide), min(budget_bytes, piece_bytes or budget_bytes)
    if whole_bytes <= piece_limit or max(tall, wide) <= SMALLEST_TILE:
        return Plan(True, (tall, wide), whole_bytes, 0, (tall, wide), model.reach)
    # A block's input and answer at the deep part's finest level (`run_in_bands`), and a band's buffers.
    channels, positions = model.config.widths[model.shallow_levels], tall * wide // model.deep_stride**2
    deep_bytes = 4 * channels * (2 * positions + 6 * min(positions, BAND_POSITIONS))
    side, piece_limit = LARGEST_TILE, min(piece_limit, budget_bytes - deep_bytes)
    while side > SMALLEST_TILE and _pass_bytes(model, min(side, tall), min(side, wide)) > piece_limit:
        side -= stride
    tile = min(side - side % stride, tall), min(side - side % stride, wide)
    least_bytes = deep_bytes + _pass_bytes(model, *tile)
    if least_bytes > budget_bytes:
        raise ConfigError(
            f"budget_bytes is {budget_bytes}; a picture of {width} x {height} needs {least_bytes} or more. "
            "Raise it, or restore a smaller picture."
        )
    overlap = 4 * model.reach
    tile = _side(tall, tile[0], overlap, stride), _side(wide, tile[1], overlap, stride)
    return Plan(False, tile, _pass_bytes(model, *tile), deep_bytes, (tall, wide), model.reach)


def _pass_bytes(model: Restorer, height: int, width: int) -> int:
    positions = (height // model.config.stem) * (width // model.config.stem)
    return LIVE_MAPS * 4 * model.config.widths[0] * positions


def _side(size: int, tile: int, overlap: int, stride: int) -> int:
    """Side of the smallest tiles of which no more are needed than of the largest allowed."""
    if size <= tile:
        return size
    count = math.ceil((size - overlap) / (tile - overlap))
    return math.ceil((size + (count - 1) * overlap) / count / stride) * stride


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    last = size - tile
    regular = list(range(0, last, tile - overlap))
    return [*regular, last] if regular[-1] != last else regular
