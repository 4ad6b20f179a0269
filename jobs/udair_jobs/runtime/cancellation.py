"""Stopping a job on SIGTERM or Ctrl-C: within seconds, with a result, never in the middle of a commit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from udair_jobs.errors import JobCancelled


class Cancellation:
    """Whether somebody asked this job to stop.

    Inside `armed()` a request interrupts whatever runs in the main thread; outside it is only
    remembered. Code that swallows the interruption meets it again at its next `check()`.
    """

    def __init__(self) -> None:
        self.requested = False
        self._armed = False
        self._installed = False

    def install(self) -> None:
        """Turn SIGTERM and SIGINT of this process into requests; call it from the main thread."""
        self._installed = True
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def reinstall(self) -> None:
        """Install again, if it was installed: a library has put handlers of its own in place."""
        if self._installed:
            self.install()

    def request(self) -> None:
        """Ask the job to stop at its next `check()`; may be called from any thread."""
        self.requested = True

    def check(self) -> None:
        """Raise JobCancelled if somebody asked."""
        if self.requested:
            raise JobCancelled

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """While this is entered, a signal interrupts."""
        self.check()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def leave(self, status: int) -> int:
        """`status`, to be returned by `main`; after a request the process ends with it here.

        Python would wait at exit for downloads that were abandoned, and Ray a minute for the cluster that
        was left.
        """
        if self.requested:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return status

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._armed:
            self._armed = False  # once: the result is written after this
            raise JobCancelled(f"the job was asked to stop ({signal.Signals(number).name}); nothing was published.")
