"""A TCP proxy on loopback whose packets can be held back and let go again: a network that stalls."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class TcpProxy:
    """Passes bytes between its own `port` and `upstream_port`, unless it is paused."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def pause(self) -> None:
        """Hold everything back; connections stay."""
        self._open.clear()

    def resume(self) -> None:
        """Let go what was held back."""
        self._open.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[TcpProxy]:
        """Accept connections while this is entered."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self.resume()
            self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._upstream)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
