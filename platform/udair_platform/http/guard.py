"""What happens to every request before and after its handler: an id, a log line, a bounded body."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udair_platform.errors import BadRequest, NotFound, PlatformError
from udair_platform.http.problems import problem, too_large
from udair_platform.telemetry import logger

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_HUNG_UP = 499  # of a caller that went while its body was read, in the log alone
_QUIET = ("/healthz", "/readyz")
_log = logger("api")


def _headers(request: Request) -> dict[str, str]:
    """What handlers want every answer to this request to say, refusals too: `request.state.headers`."""
    headers: dict[str, str] = getattr(request.state, "headers", {})
    return headers


class RequestGuard:
    """Outermost layer of the application.

    Args:
        max_body_bytes: Larger bodies are answered with 413, whatever Content-Length says.
        larger: The same for paths that begin so, which take files.
        emit_request_id: Put the request's id into the answer's headers; not where a proxy in front does.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        larger: Mapping[str, int] | None = None,
        emit_request_id: bool = True,
    ) -> None:
        self._app, self._max, self._says_id = app, max_body_bytes, emit_request_id
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.match(given) else f"r-{secrets.token_hex(8)}"
        request.state.request_id = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        most = next((size for start, size in self._larger.items() if request.url.path.startswith(start)), self._max)
        began, status, read = time.perf_counter(), 0, 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                # An HTTPException: anything else that is raised while a body is read becomes a 400.
                raise HTTPException(413, too_large(most).detail)
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept = any(name.lower() == b"cache-control" for name, _ in message["headers"])
                message["headers"] = [
                    *message["headers"],
                    *([(b"x-request-id", request_id.encode())] if self._says_id else []),
                    *((name.lower().encode(), value.encode()) for name, value in _headers(request).items()),
                    (b"x-content-type-options", b"nosniff"),
                    *([] if kept else [(b"cache-control", b"no-store")]),
                ]
            await send(message)

        try:
            length = request.headers.get("Content-Length", "0")
            if "\0" in scope["path"]:
                nothing = NotFound("The path holds a NUL; nothing is called so.")
                await problem(nothing, request_id, request.url.path)(scope, receive, answer)
            elif b"%00" in scope["query_string"]:
                detail = "The query holds a NUL (%00), which no parameter takes."
                await problem(BadRequest(detail), request_id, request.url.path)(scope, receive, answer)
            elif length.isdigit() and int(length) > most:
                await problem(too_large(most), request_id, request.url.path)(scope, receive, answer)
            else:
                await self._app(scope, bounded, answer)
        except ClientDisconnect:  # nobody is there to be answered
            status = status or _HUNG_UP
        except Exception as error:
            _log.error("unexpected", exc_info=error, method=request.method, path=request.url.path)
            if status:
                raise
            detail = "This is a fault of the platform; its log has more under the request's id."
            await problem(PlatformError(detail), request_id, request.url.path)(scope, receive, answer)
        finally:
            if request.url.path not in _QUIET:
                _log.info(
                    "request",
                    method=request.method,
                    path=request.url.path,
                    status=status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )
