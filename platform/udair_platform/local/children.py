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
_TAIL_BYTES = 2**16


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
            self._log_began = stream.tell()
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

    def kill(self) -> None:
        """End it now."""
        if self.exit_status is None:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float) -> bool:
        """True once it has ended; False after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.exit_status is not None

    def tail(self, lines: int = 12) -> str:
        """The last lines that it has written; what an earlier start wrote into the same file is none of it."""
        with contextlib.suppress(OSError), self.log.open("rb") as stream:
            stream.seek(max(self._log_began, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def below(self) -> dict[str, bool]:
        """Names of its own children, and whether each lives; one that it has looked after since it ended is not named."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    head, _, rest = (entry / "stat").read_text().rpartition(")")
                    state, parent = rest.split()[:2]
                    if int(parent) == self._process.pid:
                        found[head.partition("(")[2]] = state != "Z"
        return found


def marked(mark: str) -> list[int]:
    """Processes of this machine that carry `mark`, this one excepted."""
    return _carrying(f"{MARK}={mark}", f"/{FOLDER}{mark}-")


def end_marked(mark: str, patience_s: float = 3.0) -> int:
    """End every process that carries `mark`: SIGTERM, then SIGKILL. Returns how many there were."""
    return end_carrying(f"{MARK}={mark}", f"/{FOLDER}{mark}-", patience_s)


def end_carrying(entry: str, folder: str, patience_s: float = 3.0) -> int:
    """End every process with `entry` in its environment, or a file open whose path holds `folder`."""
    pids = _carrying(entry, folder)
    _end(pids, signal.SIGTERM)
    _wait_for_none(entry, folder, patience_s)
    _end(_carrying(entry, folder), signal.SIGKILL)
    _wait_for_none(entry, folder, patience_s)  # a busy machine takes a while to end what was killed
    return len(pids)


def _carrying(entry: str, folder: str) -> list[int]:
    pids = (int(found.name) for found in Path("/proc").iterdir() if found.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _carries(pid, entry, folder)]


def _carries(pid: int, entry: str, folder: str) -> bool:
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if entry.encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if folder in os.readlink(descriptor):
                    return True
    return False


def _end(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_for_none(entry: str, folder: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while _carrying(entry, folder) and time.monotonic() < deadline:
        time.sleep(0.1)


def _die_with_parent() -> None:
    # The kernel ends this child when the supervisor dies, even by SIGKILL.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
