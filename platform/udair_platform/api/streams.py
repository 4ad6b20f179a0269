"""Streams as replies: an event or a piece of log at a time, while the caller's key stays good."""

from __future__ import annotations

import asyncio
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
from udair_platform.entities.job import JOB_TERMINAL, Job
from udair_platform.errors import BadRequest, PlatformError

MEDIA_TYPE = "text/event-stream"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "description": "server-sent events"}}}}
}
CHECK_KEY_S = 30.0
LOG_POLL_S = 1.0
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
    text = request.headers.get("Last-Event-ID")
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"Last-Event-ID is {text[:40]!r}; expected the id of an event of this stream.")
    return int(text)


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
    find: Callable[[], tuple[Job, str]],
    after: int | None,
    *,
    check: Callable[[], object] | None = None,
) -> EventSourceResponse:
    """A job's log, line by line as it grows, until the job has ended; ids are lines.

    Args:
        find: The job as it is now, and all that its attempt has printed.
        after: Lines that the caller has.
        check: See `events`.
    """

    async def stream() -> AsyncIterator[ServerSentEvent]:
        sent, recheck = after or 0, _KeyRecheck(request, check)
        while True:
            job, text = await run_in_threadpool(find)
            lines = text.splitlines()
            if not job.done and text and not text.endswith("\n"):
                lines.pop()  # the rest of it comes
            for number, line in enumerate(lines[sent:], sent + 1):
                yield ServerSentEvent(line, event="line", id=str(number))
            sent = max(sent, len(lines))
            if job.done:
                yield ServerSentEvent(job.state.value, event="end", id=str(sent))
                return
            await asyncio.sleep(LOG_POLL_S)
            await recheck.look()

    return _response(stream())


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
