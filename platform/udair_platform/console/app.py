"""The console as a part of the control API's application, under /console."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udair_platform.api.context import Context
from udair_platform.console import (
    actions,
    administration,
    comparisons,
    domain_forms,
    domains,
    jobs,
    login,
    overview,
    pictures,
    serving,
    snapshots,
    sweeps,
    trials,
    usage,
    versions,
)
from udair_platform.console.rendering import STATIC, page
from udair_platform.console.session import Session, current
from udair_platform.errors import BadRequest, Invalid, NotFound, PlatformError, Unauthenticated
from udair_platform.http.problems import RETRY_AFTER_S

_ROOMS = (
    login,
    overview,
    domains,
    domain_forms,
    snapshots,
    versions,
    comparisons,
    pictures,
    jobs,
    sweeps,
    trials,
    serving,
    usage,
    administration,
    actions,
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_console(context: Context) -> FastAPI:
    """The console over the same context as the API."""
    app = FastAPI(title="UDAIR console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    for room in _ROOMS:
        app.include_router(room.router)
    app.mount("/static", _Kept(directory=STATIC), name="static")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, PlatformError)
        if isinstance(error, Unauthenticated):
            return RedirectResponse(_to_login(request), 303)
        answer = page(request, "error.html", _visitor(request), error.status, error=error)
        if error.retryable:
            answer.headers["Retry-After"] = str(error.retry_after_s or RETRY_AFTER_S)
        return answer

    async def unusable(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        fields = ", ".join(str(item["loc"][-1]) for item in error.errors()[:5])
        kind = Invalid if request.method == "POST" else BadRequest
        return await refused(request, kind(f"The request cannot be used as it is: {fields}. Go back and try again."))

    async def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return await refused(request, NotFound("There is no such page."))
        return await http_exception_handler(request, error)

    app.add_exception_handler(PlatformError, refused)
    app.add_exception_handler(RequestValidationError, unusable)
    app.add_exception_handler(HTTPException, missing)
    # Pages hold a token and echo what was asked for, which compression could betray to whoever can make a browser
    # ask; the cookie is SameSite=Strict, so that nobody elsewhere can.
    app.add_middleware(GZipMiddleware, minimum_size=600, compresslevel=6)
    app.add_middleware(_Guarded)
    return app


def mount_console(app: FastAPI) -> None:
    """The console as a part of the API's application; whoever asks for nothing in particular is led there."""

    def lead() -> Response:
        return RedirectResponse("/console/", 307)

    for place in ("/", "/console"):
        app.add_api_route(place, lead, include_in_schema=False, response_model=None)
    app.mount("/console", create_console(app.state.context))


def _to_login(request: Request) -> str:
    """The login, and from there the page that was asked for, or that the form stood on, of which nothing was done."""
    if request.method == "GET":
        return f"/console/login?next={quote(request.url.path)}"
    came = urlsplit(request.headers.get("Referer", ""))
    page_of_form = came.path if came.netloc == request.headers.get("Host") else "/console/"
    return f"/console/login?ended=1&next={quote(page_of_form)}"


def _visitor(request: Request) -> Session | None:
    """Whose page it is, so that a refusal leaves the way to other pages."""
    with suppress(PlatformError):
        return current(request)
    return None


class _Kept(StaticFiles):
    """Files whose address changes when they do."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


class _Guarded:
    """Headers that keep the page to itself, on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"same-origin"),
                    (b"x-frame-options", b"DENY"),
                    (b"cross-origin-opener-policy", b"same-origin"),
                ]
            await send(message)

        await self._app(scope, receive, answer)
