"""Logs of attempts, copied to the store in threads of their own: one that does not come holds up nobody."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from udair_platform.documents.job_log import KEPT_BYTES
from udair_platform.entities.job import Attempt
from udair_platform.errors import PlatformError
from udair_platform.scheduler.attempt_files import AttemptFiles
from udair_platform.scheduler.launcher import Launcher
from udair_platform.telemetry import logger

_THREADS = 4
_END_WAIT_S = 2.0
_log = logger("reconciler.logs")


class LogKeeper:
    """Copies what attempts print; one copy of an attempt's log follows the other.

    Args:
        launcher: Knows what was printed.
        end_wait_s: How long the end of an attempt waits for the end of its log.
    """

    def __init__(self, launcher: Launcher, *, end_wait_s: float = _END_WAIT_S) -> None:
        self._launcher, self._end_wait_s = launcher, end_wait_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="log-keeper")
        self._latest: dict[str, Future[None]] = {}
        self._lock = threading.RLock()  # a copy that is done before anybody asks calls back at once

    def keep(self, attempt: Attempt, files: AttemptFiles) -> None:
        """Copy the attempt's log by and by, unless that is under way."""
        with self._lock:
            if attempt.submission_id not in self._latest:
                self._start(attempt, files)

    def keep_end(self, attempt: Attempt, files: AttemptFiles) -> None:
        """Copy the log of an attempt that ends, and wait a moment for it: whoever reads it then has all of it."""
        with self._lock:
            copied = self._start(attempt, files)
        try:
            copied.result(self._end_wait_s)
        except TimeoutError:
            _log.warning("the end of a log has not come", submission_id=attempt.submission_id)

    def rest(self) -> None:
        """Wait a moment for what is under way."""
        with self._lock:
            under_way = list(self._latest.values())
        wait_for(under_way, self._end_wait_s)

    def _start(self, attempt: Attempt, files: AttemptFiles) -> Future[None]:
        id = attempt.submission_id
        copied = self._threads.submit(self._copy, id, files, self._latest.get(id))
        self._latest[id] = copied
        copied.add_done_callback(lambda done: self._forget(id, done))
        return copied

    def _copy(self, id: str, files: AttemptFiles, before: Future[None] | None) -> None:
        if before is not None:
            before.result()  # it began earlier, as threads take what was given first
        try:
            files.keep_log(self._launcher.logs(id, max_bytes=KEPT_BYTES))
        except PlatformError as error:
            _log.info("log not kept", submission_id=id, detail=error.detail)
        except Exception:
            _log.exception("log not kept", submission_id=id)

    def _forget(self, id: str, done: Future[None]) -> None:
        with self._lock:
            if self._latest.get(id) is done:
                del self._latest[id]
