"""Restore pictures of any size: whole where they fit the memory budget, else in pieces that show no seam.

What depends on the whole picture is decided once: its conditions (`udair/models/conditions.py`), and the
deep part of the net, which is run on all of it. Only what sees a few neighbours is run on pieces, and
each piece brings all the neighbours that it sees. So pieces give the whole's pixels to within rounding.

Axes: B pieces, C channels, H x W pixels, h x w positions of the deep part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from udair.config import Tone
from udair.errors import ShapeError
from udair.models.conditions import Conditions
from udair.models.degradation import Degradation
from udair.models.modulation import Modulation
from udair.models.padding import window
from udair.models.restorer import Restorer, compose
from udair.models.tone_curve import toned
from udair.tiling import BAND_POSITIONS, BUDGET_BYTES, Piece, plan

Stage = Literal["whole", "shallow", "deep", "finish"]


class Shape(NamedTuple):
    """Pieces of one shape can be run together."""

    height: int
    width: int
    stage: Stage


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
        budget_bytes, piece_bytes: See `udair.tiling.plan`.

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
            if modulation is not None:
                self.image_CHW = toned(self.image_CHW[None], modulation.curve_B3T, whole.inside_B)[0]
            self.given = model.conditions(whole, modulation, tone)
        height, width = image_CHW.shape[1:]
        self.plan = plan(model, height, width, budget_bytes, piece_bytes)
        self._stride, self._deep_stride = model.config.stride, model.deep_stride
        self._deep_1Chw: Tensor | None = None
        self._deep_last_1Chw: Tensor | None = None
        self._deep_steps: Iterator[Tensor] | None = None
        self._answer_CHW: Tensor | None = None
        self._stage: Stage = "whole" if self.plan.whole else "shallow"
        self.left: deque[Piece] = deque(self.plan.pieces())
        self._waiting = len(self.left)

    @property
    def shape(self) -> Shape:
        """Of the pieces in `left`: height, width, and what is done with them."""
        if self._stage == "deep":
            return Shape(*self.plan.padded, "deep")
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
        return self._deep_1Chw[0][:, *self.plan.place(piece, self._deep_stride)]

    def take_whole(self, restored_CHW: Tensor) -> None:
        """Take in the picture as one pass restored it."""
        self._answer_CHW = restored_CHW.float()
        self._waiting = 0

    def take_shallow(self, piece: Piece, features_Chw: Tensor) -> None:
        """Take in the deep part's input from one piece; after the last, the deep part is next."""
        if self._deep_1Chw is None:
            height, width = (side // self._deep_stride for side in self.plan.padded)
            self._deep_1Chw = torch.empty(
                1, len(features_Chw), height, width, device=features_Chw.device, memory_format=torch.channels_last
            )
        into, of = self.plan.core(piece, self._deep_stride)
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
            self._next("finish", self.plan.pieces())
        else:
            self._deep_last_1Chw = following
            self.left.append(Piece(0, 0))

    def take_finished(self, piece: Piece, restored_CHW: Tensor) -> None:
        """Take in one restored piece: what all of its neighbours were there for."""
        if self._answer_CHW is None:
            self._answer_CHW = torch.empty_like(self.image_CHW)
        into, of = self.plan.core(piece, 1)
        target = self._answer_CHW[:, *into]
        target.copy_(restored_CHW[:, *of][:, : target.shape[1], : target.shape[2]])
        self._waiting -= 1
        if not self._waiting:
            self._deep_1Chw = None

    def _next(self, stage: Stage, pieces: Sequence[Piece]) -> None:
        self._stage, self._waiting = stage, len(pieces)
        self.left.extend(pieces)


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
        budget_bytes: Working memory beside the picture and its answer: see `udair.tiling.plan`.
        piece_bytes: Of one piece: see `udair.tiling.plan`. With `ENDPOINT_PIECE_BYTES` it is, to the bit, what an
            endpoint on CPUs answers; whole, sums are rounded in another order, and of 255 levels one may be the next.
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
