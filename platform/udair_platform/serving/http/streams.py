"""Pictures of one camera over one connection, a WebSocket: answered in the order in which they came.

Every binary message is an encoded picture. Each is answered by a text message (JSON: its number, a status, and the
headers that its own request would have had, or what is wrong) and, where that says 200, by a binary one: the restored
picture. A picture that is refused ends nothing. An empty binary message asks for what is under way, and the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from udair_platform.errors import PlatformError, TooManyRequests
from udair_platform.http.problems import RETRY_AFTER_S
from udair_platform.serving.http.restore import RestoreResponse, RestoreService
from udair_platform.serving.request import RestoreRequest
from udair_platform.telemetry import logger, redact_text

WINDOW = 8  # pictures of a stream under way; more are not read, so that the sender waits
MOST_OF_TENANT, MOST = 8, 64  # streams
REFUSED = 4000  # and the status that a request would have had: the code that a stream is closed with
_DONE, _GOING_AWAY, _NO_PICTURE = 1000, 1001, 1003
_REASON_BYTES = 120
_log = logger("serving")

Ask = Callable[[str], Awaitable[RestoreRequest]]
Headers = Callable[[RestoreResponse, RestoreRequest, str], dict[str, str]]


class Streams:
    """The streams of one process.

    Args:
        service: Restores pictures.
        headers_of: What is said about an answer.
        idle_s: A stream on which nothing comes for so long is closed.
    """

    def __init__(self, service: RestoreService, headers_of: Headers, idle_s: float = 300.0) -> None:
        self._service, self._headers_of, self._idle_s = service, headers_of, idle_s
        self._open: Counter[str] = Counter()

    async def answer(self, socket: WebSocket, ask: Ask) -> None:
        """Answer one stream until either side ends it.

        Args:
            ask: What is asked for of each picture of the stream whose id it is told; looks at key and route each time.
        """
        await socket.accept()
        stream = f"s-{secrets.token_hex(8)}"
        try:
            tenant = (await ask(stream)).name.partition("/")[0]
            with self._counted(tenant):
                await self._pictures(socket, ask, stream)
        except PlatformError as error:
            await _close(socket, REFUSED + error.status, error.detail)
        except WebSocketDisconnect:  # the other side went, in the middle of an answer too
            pass

    @contextlib.contextmanager
    def _counted(self, tenant: str) -> Iterator[None]:
        if self._open[tenant] >= MOST_OF_TENANT or self._open.total() >= MOST:
            raise TooManyRequests(f"{self._open[tenant]} streams of this tenant are open here; end one, or wait.")
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def _pictures(self, socket: WebSocket, ask: Ask, stream: str) -> None:
        under_way: asyncio.Queue[asyncio.Task[tuple[dict[str, Any], bytes]] | None] = asyncio.Queue()
        places = asyncio.Semaphore(WINDOW)

        async def read() -> tuple[int, str]:
            number = 0
            while True:
                await places.acquire()
                try:
                    message = await asyncio.wait_for(socket.receive(), self._idle_s)
                except TimeoutError:
                    return _GOING_AWAY, f"Nothing came for {self._idle_s:g} s."
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", _DONE))
                data = message.get("bytes")
                if data is None:
                    return _NO_PICTURE, "A text message came; expected pictures, each as one binary message."
                if not data:
                    return _DONE, ""
                asked = await ask(stream)
                under_way.put_nowait(asyncio.create_task(self._restored(asked, f"{stream}-{number}", number, data)))
                number += 1

        async def write() -> None:
            while (task := await under_way.get()) is not None:
                said, picture = await task
                await socket.send_text(json.dumps(said))
                if picture:
                    await socket.send_bytes(picture)
                places.release()

        reader, writer = asyncio.create_task(read()), asyncio.create_task(write())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not writer.done():
                code, reason = reader.result()
                under_way.put_nowait(None)
                await writer
                await _close(socket, code, reason)
            else:
                writer.result()
        finally:
            for task in (reader, writer):
                task.cancel()
            while not under_way.empty():
                if (task_left := under_way.get_nowait()) is not None:
                    task_left.cancel()

    async def _restored(
        self, asked: RestoreRequest, request_id: str, number: int, data: bytes
    ) -> tuple[dict[str, Any], bytes]:
        try:
            answer = await self._service.restore(data, asked)
            headers = {"Content-Type": answer.media_type} | self._headers_of(answer, asked, request_id)
            return {"number": number, "status": 200, "headers": headers}, answer.data
        except PlatformError as error:
            wait = (error.retry_after_s or RETRY_AFTER_S) if error.retryable else None
            said = {"number": number, "status": error.status, "code": error.code, "detail": redact_text(error.detail)}
            return said | {"retry_after_s": wait, "request_id": request_id}, b""
        except Exception as error:
            _log.error("unexpected", exc_info=error, request_id=request_id)
            detail = "This is a fault of the platform; its log has more under the request's id."
            return {
                "number": number,
                "status": 500,
                "code": "INTERNAL",
                "detail": detail,
                "request_id": request_id,
            }, b""


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a reason; what a frame cannot hold of it is left out."""
    with contextlib.suppress(RuntimeError):
        await socket.close(code, redact_text(reason).encode()[:_REASON_BYTES].decode(errors="ignore"))
