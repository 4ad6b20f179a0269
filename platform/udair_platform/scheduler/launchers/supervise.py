"""Runs one command and writes down what became of it, so that nobody needs to be its parent.

    python -m udair_platform.scheduler.launchers.supervise FOLDER COMMAND...

The first supervisor of a folder claims it; a second one ends at once. That makes a launch that is
repeated after a crash the same launch. FOLDER then holds `claim` (pid and start time), `log`, and in
the end `exit_code`. Standard library only: it lives as long as the job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from udair_platform.files import write_whole

CLAIM, LOG, EXIT_CODE = "claim", "log", "exit_code"


def start_time(pid: int) -> str | None:
    """When the process `pid` began, in ticks since boot; None if it is gone or a zombie.

    A pid alone may have been given to another process since.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def claim(folder: Path) -> bool:
    """Become the folder's supervisor; false if it has one already."""
    try:
        write_whole(folder / CLAIM, f"{os.getpid()} {start_time(os.getpid())}\n".encode(), replace=False)
    except FileExistsError:
        return False
    return True


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, where the kernel can (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def main(arguments: list[str]) -> int:
    """Claim, run, wait, write the exit code."""
    folder, command = Path(arguments[0]), arguments[1:]
    if not claim(folder):
        return 0
    child: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    for awaited in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(awaited, forward)
    with (folder / LOG).open("ab", buffering=0) as log:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            log.write(f"cannot start {command[0]}: {error.strerror}\n".encode())
            write_whole(folder / EXIT_CODE, b"127\n")
            return 127
        for number in asked:  # asked to end before there was a child to tell
            child.send_signal(number)
        code = child.wait()
    write_whole(folder / EXIT_CODE, f"{code}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
