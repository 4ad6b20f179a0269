"""A micro-batcher in plain asyncio: one batch mixes domains, and one bad item fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class MicroBatcher(Generic[Item, Answer]):
    """Collects items for a moment and hands them on together.

    Serve's own batching is not used: it fails every caller of a batch for one bad item.

    Args:
        process: Items to answers, or to the exception of each, in order; runs in one thread.
        max_items: Largest batch.
        window_s: How long the first item waits for company.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        max_items: int = 8,
        window_s: float = 0.005,
    ) -> None:
        self._process, self._max_items, self._window_s = process, max_items, window_s
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Answer]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._loop_task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """Wait for the answer to one item; its own exception is raised here and nowhere else."""
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run())
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        await self._queue.put((item, future))
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            deadline = loop.time() + self._window_s
            while len(batch) < self._max_items:
                try:
                    batch.append(await asyncio.wait_for(self._queue.get(), max(0.0, deadline - loop.time())))
                except TimeoutError:
                    break
            # A caller that went away needs no pixels.
            batch = [(item, future) for item, future in batch if not future.done()]
            if not batch:
                continue
            try:
                answers = await loop.run_in_executor(self._thread, self._process, [item for item, _ in batch])
            except Exception as error:  # the loop must outlive any batch
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
