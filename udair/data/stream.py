"""Batches drawn in chunks of several steps, in the background while the device works on those before.

Axes: B patches of one step, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields

import torch

from udair.data.tasks import Batch

Key = tuple[int, int, int]
Draw = Callable[[int, int, int], list[Batch]]


class BatchStream:
    """The batches of step after step.

    Drawing is hundreds of short kernels with waits between them, whose number does not grow with the patches:
    several steps' batches are drawn at once. On a GPU it runs on a stream and a thread of its
    own, so that the training step never waits for it.

    Args:
        draw: (chunk, patches a step, side) to the batches of that chunk's steps; must depend on nothing else.
        steps: Steps of a chunk.
        ahead: Draw the next chunk while the caller works on this one.
    """

    def __init__(self, draw: Draw, *, steps: int = 1, ahead: bool) -> None:
        self._draw, self._steps = draw, steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._stream: torch.cuda.Stream | None = None
        self._waiting: tuple[Key, Future[list[Batch]]] | None = None
        self._current: tuple[Key, list[Batch]] | None = None

    def take(self, step: int, batch: int, patch: int) -> Batch:
        """The batch of one step. The step alone decides what it is, so that a run continues with the same."""
        key = (step // self._steps, batch, patch)
        if self._current is None or self._current[0] != key:
            self._current = key, self._chunk(key)
        return self._current[1][step % self._steps]

    def _chunk(self, key: Key) -> list[Batch]:
        if self._pool is None:
            return self._draw(*key)
        if self._waiting is None or self._waiting[0] != key:
            self._waiting = key, self._pool.submit(self._beside, key)
        drawn = self._waiting[1].result()
        if self._stream is not None:
            for batch in drawn:
                for item in fields(batch):
                    # Its memory belongs to the other stream, which must not use it again before this one is done.
                    getattr(batch, item.name).record_stream(torch.cuda.current_stream())
        following = (key[0] + 1, *key[1:])
        self._waiting = following, self._pool.submit(self._beside, following)
        return drawn

    def _beside(self, key: Key) -> list[Batch]:
        if not torch.cuda.is_available():
            return self._draw(*key)
        self._stream = self._stream or torch.cuda.Stream()
        with torch.cuda.stream(self._stream):
            drawn = self._draw(*key)
        self._stream.synchronize()
        return drawn
