"""A span for every request of the control API, below the caller's if it names one.

FastAPI's own telemetry would write paths into spans, and paths hold the names of customers' domains.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udair_platform.http.tracing import Tracing


class Traced:
    """Outermost layer of the application where there is somewhere to send spans to."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with self._tracing.span(method, Headers(scope=scope).get("traceparent", "")) as span:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            span.set_attribute("http.request.method", method)
            await self._app(scope, receive, answer)
            # Known when the request has found its way: a template, not a path with customers' names.
            if route := getattr(scope.get("route"), "path", None):
                span.set_attribute("http.route", route)
                span.update_name(f"{method} {route}")
