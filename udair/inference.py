"""Restore pictures of any size: whole where they fit the memory budget, else in pieces that show no seam.

What depends on the whole picture is decided once: its conditions (`udair/models/conditions.py`), and the
deep part of the net, which is run on all of it. Only what sees a few neighbours is run on pieces, and
each piece brings all the neighbours that it sees. So pieces give the whole's pixels to within rounding.

Axes: B pieces, C channels, H x W pixels, h x w positions of the deep part.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from udair.config import Tone
from udair.errors import ConfigError, ShapeError
from udair.models.conditions import Conditions
from udair.models.degradation import Degradation
from udair.models.modulation import Modulation, stack
from udair.models.padding import window
from udair.models.restorer import Restorer, compose

BUDGET_BYTES = 2 * 2**30
ENDPOINT_PIECE_BYTES = 160 * 2**20  # 0.4 megapixels of the model `base`: a step of about two seconds on one core
# Feature maps as large as the finest level's that a forward pass holds at once: input, two convolutions' answers, a
# skip, and the copies that convolution libraries make. Measured; tests/udair/test_inference.py holds it to that.
LIVE_MAPS = 6
LARGEST_TILE, SMALLEST_TILE = 1024, 256  # pixels
BAND_POSITIONS = 2**15  # of the deep part that a band holds

Stage = Literal["whole", "shallow", "deep", "finish"]


class Shape(NamedTuple):
    """Pieces of one shape can be run together."""

    height: int
    width: int
    stage: Stage


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
    """

    whole: bool
    tile: tuple[int, int]
    piece_bytes: int
    deep_bytes: int


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
        return Plan(True, (tall, wide), whole_bytes, 0)
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
    return Plan(False, tile, _pass_bytes(model, *tile), deep_bytes)


def _pass_bytes(model: Restorer, height: int, width: int) -> int:
    positions = (height // model.config.stem) * (width // model.config.stem)
    return LIVE_MAPS * 4 * model.config.widths[0] * positions


class Restoration:
    """One picture on its way through the model: work that is left, and what is done.

    Work of different pictures whose `shape` is the same may be run together by `forward_tiles`. New work
    may appear when the last of `left` was run.

    Args:
        model: A restorer in evaluation mode.
        image_CHW: RGB in [0, 1], on the model's device.
        whole: How the model sees the picture's degradation: `model.embed` of all of it.
        modulation: One row of an adapter; None is the source model.
        tone: What may change (`udair.config.Tone`).
        budget_bytes, piece_bytes: See `plan`.

    Raises:
        ShapeError: The image is not (3, H, W).
        ConfigError: The tone is none, or the picture does not fit the budget.
    """

    def __init__(
        self,
        model: Restorer,
        image_CHW: Tensor,
        whole: Degradation,
        modulation: Modulation | None = None,
        *,
        tone: Tone = "keep",
        budget_bytes: int = BUDGET_BYTES,
        piece_bytes: int | None = None,
    ) -> None:
        _check(image_CHW)
        self.image_CHW, self.whole, self.modulation, self.tone = image_CHW.float(), whole, modulation, tone
        with torch.inference_mode():
            self.given = model.conditions(whole, modulation, tone)
        height, width = image_CHW.shape[1:]
        self.plan = plan(model, height, width, budget_bytes, piece_bytes)
        self._stride, self._reach, self._deep_stride = model.config.stride, model.reach, model.deep_stride
        self._padded = height + -height % self._stride, width + -width % self._stride
        self._deep_1Chw: Tensor | None = None
        self._deep_last_1Chw: Tensor | None = None
        self._deep_steps: Iterator[Tensor] | None = None
        self._answer_CHW: Tensor | None = None
        self._stage: Stage = "whole" if self.plan.whole else "shallow"
        self.left: deque[Piece] = deque([Piece(0, 0)] if self.plan.whole else self._tiles())
        self._waiting = len(self.left)

    @property
    def shape(self) -> Shape:
        """Of the pieces in `left`: height, width, and what is done with them."""
        if self._stage == "deep":
            return Shape(self._padded[0], self._padded[1], "deep")
        return Shape(*self.plan.tile, self._stage)

    @property
    def done(self) -> bool:
        """Whether all work was run."""
        return self._waiting == 0

    def result(self) -> Tensor:
        """The restored picture, RGB, float32, not clamped; all work must have been run."""
        assert self.done, "work is left"
        assert self._answer_CHW is not None
        return self._answer_CHW

    def pixels(self, piece: Piece) -> Tensor:
        """Padded pixels (3, h, w) of one piece."""
        tall, wide = self.plan.tile
        return window(self.image_CHW[None], self._stride, piece.top, piece.left, tall, wide)[0]

    def deep_part(self, piece: Piece) -> Tensor:
        """The deep part's result (C, h, w) below one piece."""
        assert self._deep_1Chw is not None
        return self._deep_1Chw[0][:, *self._deep_place(piece)]

    def take_whole(self, restored_CHW: Tensor) -> None:
        """Take in the picture as one pass restored it."""
        self._answer_CHW = restored_CHW.float()
        self._waiting = 0

    def take_shallow(self, piece: Piece, features_Chw: Tensor) -> None:
        """Take in the deep part's input from one piece; after the last, the deep part is next."""
        if self._deep_1Chw is None:
            height, width = (side // self._deep_stride for side in self._padded)
            self._deep_1Chw = torch.empty(
                1, len(features_Chw), height, width, device=features_Chw.device, memory_format=torch.channels_last
            )
        into, of = self._core(piece, self._deep_stride)
        self._deep_1Chw[0][:, *into] = features_Chw[:, *of].float()
        self._waiting -= 1
        if not self._waiting:
            self._next("deep", [Piece(0, 0)])

    def step_deep(self, model: Restorer) -> None:
        """Run one block of the deep part; after the last, pieces are left to finish."""
        if self._deep_steps is None:
            assert self._deep_1Chw is not None
            rows = max(8, BAND_POSITIONS // self._deep_1Chw.shape[3])
            self._deep_steps = model.deep(self._deep_1Chw, self.given, rows)
            self._deep_1Chw = None  # the steps hold it
        following = next(self._deep_steps, None)
        if following is None:
            self._deep_1Chw, self._deep_last_1Chw, self._deep_steps = self._deep_last_1Chw, None, None
            self._next("finish", self._tiles())
        else:
            self._deep_last_1Chw = following
            self.left.append(Piece(0, 0))

    def take_finished(self, piece: Piece, restored_CHW: Tensor) -> None:
        """Take in one restored piece: what all of its neighbours were there for."""
        if self._answer_CHW is None:
            self._answer_CHW = torch.empty_like(self.image_CHW)
        into, of = self._core(piece, 1)
        target = self._answer_CHW[:, *into]
        target.copy_(restored_CHW[:, *of][:, : target.shape[1], : target.shape[2]])
        self._waiting -= 1
        if not self._waiting:
            self._deep_1Chw = None

    def _next(self, stage: Stage, pieces: Sequence[Piece]) -> None:
        self._stage, self._waiting = stage, len(pieces)
        self.left.extend(pieces)

    def _tiles(self) -> list[Piece]:
        rows, columns = (
            _starts(size, side, 4 * self._reach) for size, side in zip(self._padded, self.plan.tile, strict=True)
        )
        return [Piece(top, left) for top in rows for left in columns]

    def _core(self, piece: Piece, unit: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a piece is right, in the picture and in itself, in units of `unit` pixels.

        At the picture's edges that is up to the edge: the whole has nothing beyond it either.
        """
        into, of = [], []
        for start, side, size in zip(piece, self.plan.tile, self._padded, strict=True):
            first = 0 if start == 0 else 2 * self._reach
            last = side if start + side == size else side - 2 * self._reach
            into.append(slice((start + first) // unit, (start + last) // unit))
            of.append(slice(first // unit, last // unit))
        return (into[0], into[1]), (of[0], of[1])

    def _deep_place(self, piece: Piece) -> tuple[slice, slice]:
        top, left = (start // self._deep_stride for start in piece)
        tall, wide = (side // self._deep_stride for side in self.plan.tile)
        return slice(top, top + tall), slice(left, left + wide)


Tiles = Sequence[tuple[Restoration, Piece]]


@torch.inference_mode()
def forward_tiles(model: Restorer, tiles: Tiles) -> None:
    """Run work of one shape together, whatever picture, adapter and intent it belongs to.

    Args:
        model: A restorer in evaluation mode.
        tiles: Pictures on their way, each with a piece taken from its `left`; all of one `shape`.
    """
    stage = tiles[0][0].shape.stage
    if stage == "deep":
        for restoration, _ in tiles:
            restoration.step_deep(model)
        return
    given = Conditions.stack([restoration.given for restoration, _ in tiles])
    pixels_BCHW = torch.stack([restoration.pixels(piece) for restoration, piece in tiles])
    if stage == "whole":
        restored_BCHW = compose(pixels_BCHW, model.residual(pixels_BCHW, given), given)
        for (restoration, _), restored_CHW in zip(tiles, restored_BCHW, strict=True):
            height, width = restoration.image_CHW.shape[1:]
            restoration.take_whole(restored_CHW[:, :height, :width])
        return
    features_BChw, skips = model.shallow(pixels_BCHW, given)
    if stage == "shallow":
        for (restoration, piece), features_Chw in zip(tiles, features_BChw, strict=True):
            restoration.take_shallow(piece, features_Chw)
        return
    deep_BChw = torch.stack([restoration.deep_part(piece) for restoration, piece in tiles])
    restored_BCHW = compose(pixels_BCHW, model.finish(deep_BChw.to(features_BChw.dtype), skips, given), given)
    for (restoration, piece), restored_CHW in zip(tiles, restored_BCHW, strict=True):
        restoration.take_finished(piece, restored_CHW)


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
    tone: Tone = "keep",
    budget_bytes: int = BUDGET_BYTES,
    piece_bytes: int | None = None,
    whole: Degradation | None = None,
) -> Tensor:
    """Restore one picture of any size: the one way in which jobs, gallery, gate and endpoint do it.

    Args:
        model: A restorer in evaluation mode.
        image_CHW: RGB in [0, 1].
        modulation: One row of an adapter; None is the source model.
        tone: ``keep`` leaves exposure, colour and haze as they are; ``restore`` corrects them.
        budget_bytes: Working memory beside the picture and its answer: see `plan`.
        piece_bytes: Of one piece: see `plan`. With `ENDPOINT_PIECE_BYTES` it is, to the bit, what an endpoint on CPUs
            answers; whole, sums are rounded in another order, and of 255 levels one may be the next one.
        whole: How the model sees the picture's degradation, where the caller knows: `model.embed` of it.

    Returns:
        RGB in [0, 1] of the same size, float32.

    Raises:
        ShapeError: The image is not (3, H, W).
        ConfigError: The tone is none, or the picture does not fit the budget.
    """
    _check(image_CHW)
    whole = whole or model.embed(image_CHW.float()[None], modulation)
    restoration = Restoration(
        model, image_CHW, whole, modulation, tone=tone, budget_bytes=budget_bytes, piece_bytes=piece_bytes
    )
    while restoration.left:
        forward_tiles(model, [(restoration, restoration.left.popleft())])
    return restoration.result().clamp_(0, 1)


def _check(image_CHW: Tensor) -> None:
    if image_CHW.ndim != 3 or image_CHW.shape[0] != 3 or not image_CHW.numel():
        raise ShapeError("image_CHW", tuple(image_CHW.shape), "(3, H, W)")


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
