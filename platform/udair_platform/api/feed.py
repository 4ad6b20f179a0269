"""The newest events, read once for everybody who listens."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice

from fastapi.concurrency import run_in_threadpool

from udair_platform.entities.event import Event
from udair_platform.errors import PlatformError
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS
from udair_platform.telemetry import logger

_PAGE = 500
_log = logger("api")


@dataclass(frozen=True)
class Filter:
    """Which events a listener may and wants to see.

    Attributes:
        tenant: Always one: nobody listens across tenants.
        domain_id, noun, name: Of the event, where given.
    """

    tenant: str
    domain_id: str | None = None
    noun: str | None = None
    name: str | None = None

    def takes(self, event: Event) -> bool:
        """Whether `event` passes."""
        return (
            event.tenant == self.tenant
            and self.domain_id in (None, event.domain_id)
            and self.noun in (None, event.noun)
            and self.name in (None, event.name)
        )


class Feed:
    """Follows the event log while anybody listens: one query per `poll_s`, however many do.

    The newest events are kept in memory. A listener keeps only its place, so that a slow one costs
    nothing; one that falls behind what is kept reads pages from the database until it has caught up.

    Args:
        database: Where events are. They are committed in the order of their numbers.
        poll_s: Seconds between two looks.
        kept: Events in memory.
    """

    def __init__(self, database: Database, *, poll_s: float = 0.2, kept: int = 10_000) -> None:
        self._database, self._poll_s = database, poll_s
        self._events: deque[Event] = deque(maxlen=kept)
        self._start = 0  # events up to this number are not in memory
        self._newest = 0
        self._listeners = 0
        self._poller: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    async def follow(self, wanted: Filter, after: int | None) -> AsyncIterator[Event]:
        """Events beyond number `after` (None: from now on), oldest first, for ever.

        Raises:
            StateUnavailable: The database does not answer at the beginning, or while catching up.
        """
        await self._enter()
        try:
            place = self._newest if after is None else after
            while True:
                if place < self._start:
                    newest = self._newest
                    page = await run_in_threadpool(self._page, wanted, place)
                    for event in page:
                        yield event
                    seen = page[-1].seq if page else place
                    place = seen if len(page) == _PAGE else max(seen, newest)
                    continue
                newest = self._newest
                for event in self._beyond(place):
                    if wanted.takes(event):
                        yield event
                place = max(place, newest)
                async with self._news:
                    while self._newest == newest:
                        await self._news.wait()
        finally:
            self._leave()

    def _beyond(self, place: int) -> list[Event]:
        first = bisect_right(self._events, place, key=lambda event: event.seq)
        return list(islice(self._events, first, None))

    async def _enter(self) -> None:
        self._listeners += 1
        if self._poller is None:
            try:
                newest = await run_in_threadpool(self._find_newest)
            except BaseException:
                self._listeners -= 1
                raise
            if self._poller is None:  # another may have come while we asked
                self._events.clear()
                self._start = self._newest = newest
                self._poller = asyncio.create_task(self._poll())

    def _leave(self) -> None:
        self._listeners -= 1
        if not self._listeners and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        while True:
            try:
                page = await run_in_threadpool(self._page, None, self._newest)
            except PlatformError as error:
                _log.warning("events follow later", code=error.code, detail=error.detail)
                page = []
            if page:
                dropped = len(self._events) + len(page) - (self._events.maxlen or 0)
                if dropped > 0:
                    self._start = [*self._events, *page][dropped - 1].seq
                self._events.extend(page)
                self._newest = page[-1].seq
                async with self._news:
                    self._news.notify_all()
            if len(page) < _PAGE:
                await asyncio.sleep(self._poll_s)

    def _page(self, wanted: Filter | None, after: int) -> list[Event]:
        with self._database.read() as state:
            if wanted is None:
                return state.events.page(ALL_TENANTS, after=after, size=_PAGE)
            return state.events.page(
                wanted.tenant, domain_id=wanted.domain_id, noun=wanted.noun, name=wanted.name, after=after, size=_PAGE
            )

    def _find_newest(self) -> int:
        with self._database.read() as state:
            return state.events.newest(ALL_TENANTS)
