"""`python -m udair_jobs.train_source` as a process of its own, watched and always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import descendants, named

ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class TrainRun:
    """A run of the command and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    deadline: float

    def until(self, happens: Callable[[], object]) -> None:
        """Wait until `happens()`; fails when the process ends first or never gets there."""
        while not happens():
            text = self.log.read_text()
            assert self.process.poll() is None, text[-6000:]
            assert time.monotonic() < self.deadline, text[-6000:]
            time.sleep(0.1)

    def text_at_end(self, status: int) -> str:
        """Everything it said, after it ended with `status`."""
        self.process.wait(max(1.0, self.deadline - time.monotonic()))
        text = self.log.read_text()
        assert self.process.returncode == status, text[-6000:]
        return text


@contextlib.contextmanager
def run_training(
    arguments: Sequence[str], folder: Path, *, within_s: float = 500, **environment: str
) -> Iterator[TrainRun]:
    """Start the command in `folder`; whatever happens, nothing of it runs on afterwards."""
    log = folder / "train-log.txt"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "udair_jobs.train_source", *arguments],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | ENVIRONMENT | environment,
        )
    try:
        yield TrainRun(process, log, time.monotonic() + within_s)
    finally:
        children = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def train_workers(pid: int) -> list[int]:
    """Ray Train's worker processes below `pid`."""
    return named(pid, b"RayTrainWorker")
