"""Batches drawn in the background while the device works on those before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from udair.data.tasks import Batch

Key = tuple[int, int, int]
Draw = Callable[[int, int, int], list[Batch]]


class BatchStream:
    """The batches of step after step.

    Drawing is hundreds of short kernels with waits between them. On a GPU it runs on a stream and a
    thread of its own, so that the training step never waits for it.

    Args:
        draw: (step, patches, side) to the batches of that step; must depend on nothing else.
        ahead: Draw the next step's while the caller works on this one's.
    """

    def __init__(self, draw: Draw, *, ahead: bool) -> None:
        self._draw = draw
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._stream: torch.cuda.Stream | None = None
        self._waiting: tuple[Key, Future[list[Batch]]] | None = None
        # What the caller may still be computing with: its memory belongs to the other stream.
        self._lent: list[Batch] = []

    def take(self, step: int, batch: int, patch: int) -> list[Batch]:
        """The batches of one step; those of the step before must no longer be in use."""
        key = (step, batch, patch)
        if self._pool is None:
            return self._draw(*key)
        if self._waiting is None or self._waiting[0] != key:
            self._waiting = key, self._pool.submit(self._beside, key)
        self._lent = self._waiting[1].result()
        following = (step + 1, batch, patch)
        self._waiting = following, self._pool.submit(self._beside, following)
        return self._lent

    def _beside(self, key: Key) -> list[Batch]:
        if not torch.cuda.is_available():
            return self._draw(*key)
        self._stream = self._stream or torch.cuda.Stream()
        with torch.cuda.stream(self._stream):
            drawn = self._draw(*key)
        self._stream.synchronize()
        return drawn
