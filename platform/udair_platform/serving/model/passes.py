"""Whole passes of the model over pictures of one shape, from bytes to bytes: how small pictures are served on GPUs.

A pass is one upload, one batch (how it sees the pictures, each adapter's row, the net, eight bits) and one download. On
CUDA it is replayed from a graph, one for each shape and power of two of pictures: a pass over one picture is hundreds of
launches, which take ten times as long as their arithmetic. In Python a picture costs a copy and an entry of a few
lists, and those of the next pass are made while the device is at this one.

Axes: B pictures, C channels, H x W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from udair.captured import CapturedStep
from udair.config import TONES, Tone
from udair.data.images import ImageArray
from udair.data.patches import to_bytes
from udair.models.modulation import Modulation, stack
from udair.models.restorer import Restorer

MOST_GRAPHS = 16  # the one that was not used for longest goes
GRAPH_PIXELS = 2**19  # of a picture: the arithmetic of larger ones takes longer than their launches
_WARM_PASSES = 2
_PARTS = tuple(item.name for item in fields(Modulation))


@dataclass(frozen=True)
class Asked:
    """One picture, (H, W, 3) uint8, its adapter's row (None: the source model), and what may change."""

    image: ImageArray
    row: Modulation | None
    tone: Tone


@dataclass(frozen=True)
class Pending:
    """A pass that may still be under way."""

    _answer_BHWC: Tensor
    _finite_B: Tensor
    _count: int
    _ended: torch.cuda.Event | None

    def wait(self) -> list[npt.NDArray[np.uint8] | None]:
        """The restored pictures in order, (H, W, 3) uint8; None for one that is not finite.

        Raises:
            RuntimeError: The device failed.
        """
        if self._ended is not None:
            self._ended.synchronize()
        finite, answers = self._finite_B[: self._count].tolist(), self._answer_BHWC.numpy()
        return [answers[place] if usable else None for place, usable in enumerate(finite)]


@dataclass(frozen=True)
class _Prepared:
    """A pass for inputs of one shape: what runs it, and where its answer lies."""

    run: Callable[[Sequence[Tensor]], None]
    answer_BHWC: Tensor
    finite_B: Tensor


class Passes:
    """Runs whole passes; graphs are recorded as shapes come by.

    Args:
        model: In evaluation mode, on its device.
        autocast: Run it in bfloat16.
        capture: Batches are rounded up to powers of two, and replayed where there is CUDA; if None, only there.
    """

    def __init__(self, model: Restorer, *, autocast: bool, capture: bool | None = None) -> None:
        self._model, self._autocast, self._device = model, autocast, model.enter.weight.device
        self._cuda = self._device.type == "cuda"
        self._capture = self._cuda if capture is None else capture
        self._prepared: OrderedDict[tuple[int, ...], _Prepared] = OrderedDict()
        # One graph runs at a time: all of them work in the same memory.
        self._pool = torch.cuda.graph_pool_handle() if self._cuda else None
        with torch.inference_mode():
            self._identity = model.identity()

    @torch.inference_mode()
    def start(self, asked: Sequence[Asked]) -> Pending:
        """Begin a pass over pictures of one shape; on a GPU it goes on while the caller does other things."""
        count = len(asked)
        rows = [self._identity if item.row is None else item.row for item in asked]
        curved = any(row.has_curve for row in rows)  # whether a curve bends is asked of the device: not in a graph
        height, width = asked[0].image.shape[:2]
        replay = self._capture and not curved and height * width <= GRAPH_PIXELS
        size = 1 << (count - 1).bit_length() if replay else count
        pixels_BHWC = torch.empty(size, *asked[0].image.shape, dtype=torch.uint8, pin_memory=self._cuda)
        for into, item in zip(pixels_BHWC.numpy(), asked, strict=False):
            np.copyto(into, item.image)
        pixels_BHWC[count:] = 0
        tones = [TONES.index(item.tone) for item in asked] + [0] * (size - count)
        inputs = [part.to(self._device, non_blocking=True) for part in (pixels_BHWC, torch.tensor(tones))]
        if any(item.row is not None for item in asked):
            row = stack(rows + [self._identity] * (size - count))
            row = row if curved else row.without_curve()
            inputs += [getattr(row, part) for part in _PARTS]
        prepared = self._replayed(inputs) if replay else self._prepare(inputs)
        prepared.run(inputs)
        answer_BHWC, finite_B = self._download(prepared.answer_BHWC), self._download(prepared.finite_B)
        ended = torch.cuda.Event() if self._cuda else None
        if ended is not None:
            ended.record()
        return Pending(answer_BHWC, finite_B, count, ended)

    def _replayed(self, inputs: Sequence[Tensor]) -> _Prepared:
        key = (len(inputs), *inputs[0].shape)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(inputs, capture=self._cuda)
            if len(self._prepared) > MOST_GRAPHS:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def _prepare(self, inputs: Sequence[Tensor], *, capture: bool = False) -> _Prepared:
        answer_BHWC = torch.empty_like(inputs[0])
        finite_B = torch.empty(len(inputs[0]), dtype=torch.bool, device=self._device)
        compute = partial(self._compute, answer_BHWC, finite_B)
        run = CapturedStep(compute, inputs, capture=capture, warm_steps=_WARM_PASSES, pool=self._pool)
        return _Prepared(run, answer_BHWC, finite_B)

    def _compute(self, answer_BHWC: Tensor, finite_B: Tensor, inputs: Sequence[Tensor]) -> None:
        """The pass itself: its shapes depend on its inputs' alone, and it waits for nothing."""
        pixels_BHWC, tone_B, *row = inputs
        image_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float() / 255
        with self._precision():
            restored_BCHW = self._model(image_BCHW, Modulation(*row) if row else None, tone=tone_B)
        finite_B.copy_(torch.isfinite(restored_BCHW).flatten(1).all(1))
        answer_BHWC.copy_(to_bytes(restored_BCHW).permute(0, 2, 3, 1))

    def _download(self, result: Tensor) -> Tensor:
        """The result where the host reads it, once the pass has ended."""
        if not self._cuda:
            return result.clone()  # the next pass of this shape writes there
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        return host.copy_(result, non_blocking=True)

    def _precision(self) -> torch.autocast | nullcontext[None]:
        # Without its cache: a graph must not read what is gone when it is replayed.
        off = nullcontext[None]()
        return torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False) if self._autocast else off
