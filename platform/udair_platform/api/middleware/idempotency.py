"""`Idempotency-Key`: the same POST twice has one effect and one reply, for 24 hours.

The reply is stored with a fingerprint of the request. A crash between effect and reply is covered by
the handlers: names and ids that derive from the key make the repeated effect the same effect. So a
reply that is lost with the machine's power loses nothing, and none waits for the disk. Replies that
hold a secret are never stored; see `services.api_keys.create_key`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from udair_platform.api.context import Context, context_of
from udair_platform.api.principal import Principal, authenticate
from udair_platform.entities.names import derived_id
from udair_platform.errors import BadRequest, KeyReused, RequestInProgress
from udair_platform.state.repositories.access import StoredReply

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
IN_PROGRESS = timedelta(seconds=60)  # after that, the process that served it is taken for dead
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
_STORED_HEADERS = ("content-type", "location", "etag")


class IdempotentRoute(APIRoute):
    """A route whose POSTs honour the header; other methods pass through."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the replay around it."""
        serve = super().get_route_handler()

        async def handler(request: Request) -> Response:
            key = key_of(request)
            if key is None or request.method != "POST":
                return await serve(request)
            context = context_of(request)
            principal = await run_in_threadpool(authenticate, request)
            fingerprint = _fingerprint(request, await request.body())
            reply = await run_in_threadpool(_begin, context, principal, key, fingerprint)
            if reply is not None:
                assert reply.status is not None
                headers = {**(reply.headers or {}), "Idempotency-Replayed": "true"}
                return Response(reply.body, reply.status, headers)
            try:
                response = await serve(request)
            except BaseException:
                # A refusal is not remembered: the caller may mend the cause and try again.
                await run_in_threadpool(_forget, context, principal, key)
                raise
            await run_in_threadpool(_finish, context, principal, key, fingerprint, response)
            return response

        return handler


def key_of(request: Request) -> str | None:
    """The request's idempotency key, if it has one.

    Raises:
        BadRequest: It is empty, too long, or holds blanks or control characters.
    """
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.match(key):
        raise BadRequest(f"{HEADER} is not acceptable; expected 1 to 255 printable ASCII characters.")
    return key


def derived(request: Request, prefix: str, principal: Principal) -> str | None:
    """An id that follows from the request's idempotency key, or None without one."""
    key = key_of(request)
    if key is None:
        return None
    return derived_id(prefix, principal.tenant, principal.claims.kid, request.url.path, key)


def _begin(context: Context, principal: Principal, key: str, fingerprint: str) -> StoredReply | None:
    now, kid = context.clock(), principal.claims.kid
    with context.database.write(losable=True) as state:
        known = state.replies.find(principal.tenant, kid, key)
        if known is not None and now - known.created_time < KEPT:
            if known.fingerprint != fingerprint:
                raise KeyReused(f"{HEADER} {key[:40]!r} was used for another request. Choose a new one.")
            if known.status is not None:
                return known
            if now - known.created_time < IN_PROGRESS:
                raise RequestInProgress(f"The request with {HEADER} {key[:40]!r} is being served. Try again.")
        state.replies.put(StoredReply(principal.tenant, kid, key, fingerprint, now))
    return None


def _finish(context: Context, principal: Principal, key: str, fingerprint: str, response: Response) -> None:
    if response.status_code >= 400:
        _forget(context, principal, key)
        return
    headers = {name: response.headers[name] for name in _STORED_HEADERS if name in response.headers}
    body = bytes(response.body).decode()
    kid, now = principal.claims.kid, context.clock()
    with context.database.write(losable=True) as state:
        reply = StoredReply(principal.tenant, kid, key, fingerprint, now, response.status_code, headers, body)
        state.replies.put(reply)


def _forget(context: Context, principal: Principal, key: str) -> None:
    with context.database.write(losable=True) as state:
        state.replies.forget(principal.tenant, principal.claims.kid, key)


def _fingerprint(request: Request, body: bytes) -> str:
    what = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(what + body).hexdigest()
