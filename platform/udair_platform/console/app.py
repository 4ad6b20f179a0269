"""The console as a part of the control API's application, under /console."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udair_platform.api.context import Context
from udair_platform.console import actions, pages, pictures
from udair_platform.console.rendering import page
from udair_platform.errors import PlatformError, Unauthenticated

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_console(context: Context) -> FastAPI:
    """The console over the same context as the API."""
    app = FastAPI(title="UDAIR console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    for room in (pages, actions, pictures):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, PlatformError)
        if isinstance(error, Unauthenticated):
            return RedirectResponse(f"/console/login?next={request.url.path}", 303)
        return page(request, "error.html", None, error.status, error=error)

    app.add_exception_handler(PlatformError, refused)
    app.add_middleware(_Guarded)
    return app


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
