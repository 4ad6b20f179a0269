"""Jobs as processes of this machine; files under home let a restarted reconciler find them again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from udair_platform.errors import LauncherDown
from udair_platform.files import write_whole
from udair_platform.scheduler.launcher import Launcher, LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.supervise import CLAIM, EXIT_CODE, LOG, start_time

_STOP, _REQUESTED = "stop", "requested"
_SUBMISSION_ID = re.compile(r"^[a-z0-9][a-z0-9-]{1,80}$")
_SUPERVISOR = "udair_platform.scheduler.launchers.supervise"
_KILL_AFTER_S = 20.0
_START_GRACE_S = 30.0
# The control plane's own secrets are no business of a job; S3 credentials are, and stay.
_NOT_FOR_JOBS = (
    "UDAIR_API_KEY",
    "UDAIR_DATABASE_URL",
    "UDAIR_SIGNING_KEY_PATH",
    "UDAIR_PREVIOUS_SIGNING_KEY_PATH",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)


class LocalLauncher(Launcher):
    """Each attempt is a process group of its own, watched by a small supervisor process.

    Args:
        folder: Kept between restarts; one sub-folder per attempt.
        python: Interpreter that has `udair_jobs`.
    """

    def __init__(self, folder: Path, *, python: str = sys.executable) -> None:
        self._folder = folder.absolute()
        self._python = python
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def launch(self, request: LaunchRequest) -> None:
        """Start the attempt in the background, unless its folder is claimed."""
        folder = self._of(request.submission_id)
        if (folder / CLAIM).exists() or (folder / _STOP).exists():
            return
        command = [sys.executable, "-m", _SUPERVISOR, str(folder), self._python, *request.arguments()]
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_JOBS}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / _REQUESTED, f"{time.time()}\n".encode())
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise LauncherDown(f"{request.submission_id} cannot be started: {error.strerror}.") from error
        with self._lock:
            self._children[request.submission_id] = child

    def status(self, submission_id: str) -> LaunchState:
        """What the files and the process table say."""
        self._reap(submission_id)
        folder = self._of(submission_id)
        alive = self._pid(folder) is not None
        code = _read(folder / EXIT_CODE)  # after the process table: the code is written before the end
        if code is not None:
            if (folder / _STOP).exists():
                return LaunchState.STOPPED
            return LaunchState.SUCCEEDED if code.strip() == "0" else LaunchState.FAILED
        if alive:
            return LaunchState.RUNNING
        if (folder / CLAIM).exists():
            # Killed without a chance to write, or the machine was switched off.
            return LaunchState.STOPPED if (folder / _STOP).exists() else LaunchState.FAILED
        if (folder / _STOP).exists():
            return LaunchState.STOPPED
        requested = _read(folder / _REQUESTED)
        if requested is None:
            return LaunchState.UNKNOWN
        return LaunchState.PENDING if time.time() - float(requested) < _START_GRACE_S else LaunchState.UNKNOWN

    def stop(self, submission_id: str) -> None:
        """SIGTERM to the job; SIGKILL to its whole group when that was not heeded for 20 s."""
        folder = self._of(submission_id)
        if not folder.exists() or (folder / EXIT_CODE).exists():
            return
        asked = _read(folder / _STOP)
        if asked is None:
            write_whole(folder / _STOP, f"{time.time()}\n".encode())
        pid = self._pid(folder)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if asked is None:
                os.kill(pid, signal.SIGTERM)  # the supervisor passes it on
            elif time.time() - float(asked) > _KILL_AFTER_S:
                os.killpg(pid, signal.SIGKILL)

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        """The end of the attempt's log file."""
        try:
            with (self._of(submission_id) / LOG).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - max_bytes))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _of(self, submission_id: str) -> Path:
        assert _SUBMISSION_ID.match(submission_id), "submission ids are made by the reconciler"
        return self._folder / submission_id

    def _pid(self, folder: Path) -> int | None:
        claim = _read(folder / CLAIM)
        if claim is None:
            return None
        pid, _, began = claim.strip().partition(" ")
        return int(pid) if start_time(int(pid)) == began else None

    def _reap(self, submission_id: str) -> None:
        with self._lock:
            child = self._children.get(submission_id)
            if child is not None and child.poll() is not None:
                del self._children[submission_id]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
