"""A few threads that fetch many objects: results in order, little in memory, dropped at once on failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# A store answers after tens of milliseconds and decoding takes a few: this many requests hide the difference.
WORKERS = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int = WORKERS) -> Iterator[Result]:
    """Yield `work(item)` for each item in order, with at most twice `workers` results in memory.

    When `work` or the caller's loop raises, what is running is abandoned, not awaited: a job that is
    asked to stop must not sit out a slow download.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
