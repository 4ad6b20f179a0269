"""Child processes that never outlive their platform, however it ends.

Every process that a platform starts inherits a mark in its environment, and keeps its files in a
folder that is named by the mark. Whatever still carries either when the platform stops, or starts
again after being killed, is ended: Ray's daemons detach from the process that started them, so that
no process group holds them all, and some overwrite their environment with their title.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "UDAIR_PLATFORM_MARK"
FOLDER = "udair-ray-"  # + mark + "-" + anything: a folder of a platform's Ray
_PR_SET_PDEATHSIG = 1


class Child:
    """One process with its log file.

    Args:
        name: What it is called in messages.
        command: Its arguments.
        environment: Its whole environment.
        log: Where both its streams go, appended.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.exit_status is None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """True once it has ended; False after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.exit_status is not None

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


def marked(mark: str) -> list[int]:
    """Processes of this machine that carry `mark`, this one excepted."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _carries(pid, mark)]


def _carries(pid: int, mark: str) -> bool:
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return True
        for descriptor in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                if f"/{FOLDER}{mark}-" in os.readlink(descriptor):
                    return True
    return False


def end_marked(mark: str, patience_s: float = 3.0) -> int:
    """End every process that carries `mark`: SIGTERM, then SIGKILL. Returns how many there were."""
    pids = marked(mark)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _die_with_parent() -> None:
    # The kernel ends this child when the supervisor dies, even by SIGKILL.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
