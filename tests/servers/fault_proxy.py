"""A real HTTP proxy in front of a store that goes wrong on request: slow, away, cut off, or full of errors."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What happens to requests that `matches` accepts, for `requests` of them or for `seconds`.

    Attributes:
        delay_s: Wait before the request is passed on.
        drop: Close the connection without an answer.
        status: Answer with this status and S3 error `code` instead of asking the store.
        keep_bytes: Promise the whole body, send this many bytes of it, and close.
        without: Leave these headers out of the answer, and elements of these names out of its XML.
    """

    delay_s: float = 0.0
    drop: bool = False
    status: int = 0
    code: str = "InternalError"
    keep_bytes: int | None = None
    without: tuple[str, ...] = ()
    requests: int | None = None
    seconds: float | None = None
    matches: Callable[[str, str], bool] = lambda method, path: True


class FaultProxy:
    """Passes requests to the server at `upstream_url`; `fail` adds a fault, `clear` ends all of them."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream = urlsplit(upstream_url).netloc
        self._faults: list[tuple[Fault, float]] = []
        self._lock = threading.Lock()
        self.hit = 0
        proxy = self

        class Handler(_Handler):
            def handle_one(self) -> None:
                proxy._handle(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, **fault: object) -> None:
        """From now on do what the `Fault` of these attributes says; the first that matches counts."""
        with self._lock:
            self._faults.append((Fault(**fault), time.monotonic()))  # type: ignore[arg-type]

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._faults.clear()

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        """Answer while this is entered."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _due(self, method: str, path: str) -> Fault:
        with self._lock:
            for fault, since in self._faults:
                over = fault.seconds is not None and time.monotonic() > since + fault.seconds
                if over or fault.requests == 0 or not fault.matches(method, path):
                    continue
                if fault.requests is not None:
                    fault.requests -= 1
                self.hit += 1
                return fault
        return Fault()

    def _handle(self, request: _Handler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        fault = self._due(request.command, request.path)
        time.sleep(fault.delay_s)
        if fault.drop:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault.status:
            text = f"<Error><Code>{fault.code}</Code><Message>on request</Message></Error>".encode()
            request.answer(fault.status, [("Content-Type", "application/xml")], len(text), text)
            return
        upstream = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            # The Host header goes through unchanged: it is signed.
            upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            size: int | None = int(answer.headers.get("Content-Length", len(content)))
            passed = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "content-length")
            ]
        finally:
            upstream.close()
        if fault.without:
            passed = [(name, value) for name, value in passed if name not in fault.without]
            if answer.headers.get("Content-Type", "").endswith("xml"):
                for name in fault.without:
                    content = re.sub(rf"<{name}>.*?</{name}>".encode(), b"", content, flags=re.DOTALL)
            size = None if "Content-Length" in fault.without else len(content)
            request.close_connection = request.close_connection or size is None
        cut = fault.keep_bytes is not None and len(content) > fault.keep_bytes
        request.answer(answer.status, passed, size, content[: fault.keep_bytes] if cut else content)
        request.close_connection = request.close_connection or cut


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        raise NotImplementedError

    def answer(self, status: int, headers: list[tuple[str, str]], size: int | None, content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204 and size is not None:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.handle_one()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
