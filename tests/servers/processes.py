"""Processes below another one: find them, and kill one in the middle of its work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from udair_platform.scheduler.launchers.supervise import CLAIM, start_time


def descendants(pid: int) -> list[int]:
    """Every process that descends from `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found.extend(child for child, parent in parents.items() if parent == known)
    return found[1:]


def kill_first(name: bytes, within_s: float = 60) -> Callable[[], int]:
    """Kill the first process below this one whose command line holds `name`, as soon as there is one.

    Returns:
        A function that waits for it and returns its process id.
    """

    def kill() -> int:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for pid in named(os.getpid(), name):
                os.kill(pid, signal.SIGKILL)
                return pid
            time.sleep(0.005)
        raise TimeoutError(f"no process {name!r} within {within_s:g} s")

    return ThreadPoolExecutor(1).submit(kill).result


def named(pid: int, name: bytes) -> list[int]:
    """Processes below `pid` whose command line holds `name`."""
    found = []
    for child in descendants(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if name in command:
            found.append(child)
    return found


def end_attempts(folder: Path) -> None:
    """Kill every attempt of the local launcher at `folder`, with all that it started."""
    for claim in folder.glob(f"*/{CLAIM}"):
        pid, _, began = claim.read_text().strip().partition(" ")
        if start_time(int(pid)) == began:
            os.killpg(int(pid), signal.SIGKILL)


def listens(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports that a process listens on, TCP; ``::`` and ``0.0.0.0`` are all of this machine's."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(link))
    found = set()
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, _, port = fields[1].partition(":")
                raw = bytes.fromhex(address)
                words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]  # the kernel writes words backwards
                found.add((socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:"), int(port, 16)))
    return found
