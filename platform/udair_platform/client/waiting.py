"""Waiting and doing things at once, for threads and for event loops: what differs between both clients."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

# asyncio and concurrent.futures are loaded where they are used: they cost an import 30 ms.

Item = TypeVar("Item")
Result = TypeVar("Result")


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def async_pause(seconds: float) -> None:
    """Wait, and let others go on."""
    import asyncio

    await asyncio.sleep(seconds)


def concurrently(work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """`work` on items as they are taken from `items`, `most` at a time; results come as they are ready."""
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    rest, running = iter(items), set[Future[Result]]()
    with ThreadPoolExecutor(most) as pool:
        while True:
            for item in rest:
                running.add(pool.submit(work, item))
                if len(running) >= most:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                yield task.result()


async def async_concurrently(
    work: Callable[[Item], Coroutine[Any, Any, Result]], items: Iterable[Item], most: int
) -> AsyncIterator[Result]:
    """`work` on items as they are taken from `items`, `most` at a time; results come as they are ready."""
    import asyncio

    rest, running = iter(items), set[asyncio.Task[Result]]()
    try:
        while True:
            for item in rest:
                running.add(asyncio.create_task(work(item)))
                if len(running) >= most:
                    break
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
