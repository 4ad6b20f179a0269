"""Streams as replies: an event or a piece of log at a time, while the caller's key stays good."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse, ServerSentEvent

from udair_platform.api.context import context_of
from udair_platform.api.feed import Filter
from udair_platform.api.principal import principal_of
from udair_platform.contract.events import Event
from udair_platform.documents.job_log import JobLog
from udair_platform.entities.job import JOB_TERMINAL, Job
from udair_platform.errors import BadRequest, PlatformError

MEDIA_TYPE = "text/event-stream"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "description": "server-sent events"}}}}
}
CHECK_KEY_S = 30.0
LOG_POLL_S = 1.0
FindLog = Callable[[int | None], tuple[Job, int, JobLog]]
_ENDS = frozenset(f"job.{state}" for state in JOB_TERMINAL)
_PING_S = 15


def wanted(request: Request) -> bool:
    """Whether the caller asks for a stream."""
    return MEDIA_TYPE in request.headers.get("Accept", "").lower()


def last_id(request: Request) -> int | None:
    """The number in `Last-Event-ID`, or None without one.

    Raises:
        BadRequest: It is none of ours.
    """
    event_id = request.headers.get("Last-Event-ID")
    if event_id is None or event_id == "":
        return None
    if not (event_id.isascii() and event_id.isdigit() and len(event_id) < 19):
        raise BadRequest(f"Last-Event-ID is {event_id[:40]!r}; expected the id of an event of this stream.")
    return int(event_id)


def last_place(request: Request) -> tuple[int, int]:
    """The attempt and the position in its log that `Last-Event-ID` names; zeros (the beginning) without one.

    Raises:
        BadRequest: It is none of ours.
    """
    line_id = request.headers.get("Last-Event-ID", "")
    found = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,15})", line_id)
    if line_id and not found and not re.fullmatch("[0-9]{1,18}", line_id):  # a number: of an earlier release
        raise BadRequest(f"Last-Event-ID is {line_id[:40]!r}; expected the id of a line of this log, e.g. 1.2048.")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def events(
    request: Request,
    which: Filter,
    after: int | None,
    *,
    of_job: bool = False,
    last: int | None = None,
    check: Callable[[], object] | None = None,
) -> EventSourceResponse:
    """Events as they happen.

    Args:
        after: Number of the last event that the caller has; None begins now.
        of_job: End with the event that ends a job.
        last: Number of that event, if the job has ended.
        check: Raises once the caller may not listen any more; default: once its key is not good.
    """

    async def stream() -> AsyncIterator[ServerSentEvent]:
        if last is not None and (after or 0) >= last:
            return
        recheck = _KeyRecheck(request, check)
        async for event in context_of(request).feed.follow(which, after):
            data = Event.describe(event, id=event.seq).model_dump_json()
            yield ServerSentEvent(data, event=event.kind, id=str(event.seq))
            if of_job and event.kind in _ENDS:
                return
            await recheck.look()

    return _response(stream())


def log(
    request: Request,
    find: FindLog,
    after: tuple[int, int],
    *,
    check: Callable[[], object] | None = None,
) -> EventSourceResponse:
    """A job's log, line by line as it grows, until the job has ended; ids are attempt and position.

    What is not kept, and where another attempt begins, is said in a line of its own.

    Args:
        find: The job as it is now, and the log of an attempt (None: the one that is followed) with its number.
        after: Attempt and position up to which the caller has it.
        check: See `events`.
    """

    async def stream() -> AsyncIterator[ServerSentEvent]:
        (attempt, place), recheck = after, _KeyRecheck(request, check)
        while True:
            job, newest, printed = await run_in_threadpool(find, None)
            parts = [(newest, printed, job.done)]
            if attempt not in (0, newest):
                rest = (await run_in_threadpool(find, attempt))[2]
                parts.insert(0, (attempt, rest, True))
            for number, kept, ended in parts:
                if number != attempt:
                    if attempt:
                        yield _line(f"[attempt {number} begins]", number, 0)
                    attempt, place = number, 0
                if kept.start > place:
                    place = kept.start
                    yield _line(kept.gap, number, place)
                for line, behind in kept.lines(place, ended=ended):
                    place = behind
                    yield _line(line, number, place)
            if job.done:
                yield ServerSentEvent(job.state.value, event="end", id=f"{attempt}.{place}")
                return
            await asyncio.sleep(LOG_POLL_S)
            await recheck.look()

    return _response(stream())


def _line(line: str, attempt: int, place: int) -> ServerSentEvent:
    return ServerSentEvent(line, event="line", id=f"{attempt}.{place}")


class _KeyRecheck:
    """Looks now and then whether a listener may still listen: a key may be revoked meanwhile."""

    def __init__(self, request: Request, check: Callable[[], object] | None = None) -> None:
        header = request.headers.get("Authorization", "")
        self._check = check or (lambda: principal_of(context_of(request), header))
        self._looked = time.monotonic()

    async def look(self) -> None:
        """Raises what `check` raises."""
        if time.monotonic() - self._looked > CHECK_KEY_S:
            await run_in_threadpool(self._check)
            self._looked = time.monotonic()


def _response(stream: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    async def guarded() -> AsyncIterator[ServerSentEvent]:
        # The reply has begun: what goes wrong now is said in the stream, and the client comes back.
        try:
            async for item in stream:
                yield item
        except PlatformError as error:
            yield ServerSentEvent(f'{{"code": "{error.code}"}}', event="error")

    return EventSourceResponse(guarded(), ping=_PING_S, send_timeout=30, headers={"X-Accel-Buffering": "no"})
