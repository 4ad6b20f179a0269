"""The server of the API, and of the data plane without Ray: what a connection may cost before anybody knows who sends it.

Headers are bounded in bytes and in time, connections in all and from one address. Whatever comes after the
headers has limits of its own (`guard`).
"""

from __future__ import annotations

import asyncio
import resource

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 64 * 1024
HEADERS_S = 10.0
MOST_CONNECTIONS, MOST_OF_AN_ADDRESS = 2000, 200
# Files that the process needs besides: the database, the store, logs.
_OTHER_FILES = 200
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def server_config(app: ASGIApp, host: str, port: int, *, streams: bool = False) -> uvicorn.Config:
    """How uvicorn serves `app`. The addresses of `FORWARDED_ALLOW_IPS` are proxies, who speak for many.

    Args:
        streams: Whether a connection may become a WebSocket, whose messages have at most 16 MiB.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedConnection,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws="websockets-sansio" if streams else "none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
    )


def serve_http(app: ASGIApp, host: str, port: int, *, streams: bool = False) -> None:
    """Serve `app` until a signal."""
    uvicorn.Server(server_config(app, host, port, streams=streams)).run()


class BoundedConnection(H11Protocol):
    """One connection, closed at once if there are too many, or when its headers do not come in time."""

    _headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it."""
        super().connection_made(transport)
        address = _address(self)
        proxies = getattr(self.app, "trusted_hosts", ())  # uvicorn's judge of FORWARDED_ALLOW_IPS
        same = 0 if address in proxies else sum(_address(one) == address for one in self.connections)
        if len(self.connections) > most_connections() or same > MOST_OF_AN_ADDRESS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on; from the first byte of a request the time for its headers runs."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(HEADERS_S, self._late)

    def _stop_watching(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


def most_connections() -> int:
    """How many there may be: fewer where the process may open few files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, files - _OTHER_FILES))


def _address(connection: object) -> str:
    client: tuple[str, int] | None = getattr(connection, "client", None)
    return client[0] if client else ""
