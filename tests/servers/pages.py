"""A page of the documentation as a reader follows it: its commands and Python blocks, in order, as written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from udair_platform.local.children import end_marked, marked

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n+\Z")
_UP = "udair up"
_STARTED = "Ctrl-C stops"


@dataclass(frozen=True)
class Step:
    """What a reader types at once: a command, or a block of Python.

    Attributes:
        where: ``page:line`` of it.
        language: ``console`` or ``python``.
        text: As the page has it.
        not_run: Why a test cannot do it; empty: it can.
    """

    where: str
    language: str
    text: str
    not_run: str = ""


@dataclass(frozen=True)
class Done:
    """What became of a step: its exit status (None: it did not end in time), seconds, and what it wrote."""

    step: Step
    status: int | None
    seconds: float
    output: str

    def __str__(self) -> str:
        ended = "did not end" if self.status is None else f"exit {self.status}"
        return f"{self.step.where}: {ended} after {self.seconds:.1f} s\n{self.step.text}\n{self.output[-3000:]}"


def steps(text: str, name: str) -> Iterator[Step]:
    """Of a page in Markdown. Blocks in other languages, and lines that are output, are nobody's to type."""
    for block in _FENCE.finditer(text):
        language, body = block[1], block[2]
        if language not in ("console", "python"):
            continue
        refused = _NOT_RUN.search(text, 0, block.start())
        reason = refused[1] if refused else ""
        first = text.count("\n", 0, block.start()) + 2
        if language == "python":
            yield Step(f"{name}:{first}", language, body, reason)
            continue
        for command in re.finditer(r"^\$ ((?:.*\\\n)*.*)$", body, re.M):
            line = first + body.count("\n", 0, command.start())
            yield Step(f"{name}:{line}", language, command[1], reason)


class Reader:
    """Somebody in a fresh folder with `udair` and `python` on the path. As a context manager it ends what it began.

    Args:
        folder: The reader's home, and where the commands run.
        ports: Of the API and of the data plane, in place of 8080 and 8000, which may be taken on this machine.
        patience_s: How long a command may take.
    """

    def __init__(self, folder: Path, ports: tuple[int, int], patience_s: float = 900.0) -> None:
        self._folder, self._patience_s = folder, patience_s
        self._ports = {"127.0.0.1:8080": f"127.0.0.1:{ports[0]}", "127.0.0.1:8000": f"127.0.0.1:{ports[1]}"}
        self._began: list[subprocess.Popen[bytes]] = []
        self._up: subprocess.Popen[bytes] | None = None
        self._mark = hashlib.sha256(str(folder / ".udair").encode()).hexdigest()[:10]
        programs = folder / ".bin"
        programs.mkdir()
        udair = programs / "udair"
        udair.write_text(
            f'#!/bin/sh\nif [ "$1" = up ]; then shift; set -- up --port {ports[0]} --serve-port {ports[1]} "$@"; fi\n'
            f'exec {sys.executable} -m udair_platform.cli "$@"\n'
        )
        udair.chmod(0o755)
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("UDAIR_", "AWS_", "XDG_"))}
        self._environment = {
            **bare,
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), bare["PATH"]]),
            "HOME": str(folder),
            "BROWSER": "true",  # what `--open` opens is looked at elsewhere
            "COLUMNS": "120",
        }

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            self._wait(self._up, 60.0)
        for process in self._began:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        end_marked(self._mark)

    def does(self, step: Step) -> Done:
        """Run one step to its end; `udair up` until the platform answers."""
        text = step.text
        for written, ours in self._ports.items():
            text = text.replace(written, ours)
        if step.language == "python":
            command = [sys.executable, "-c", text]
        else:
            # One terminal: a command finds what those before it have set. `udair up` is one process, as Ctrl-C meets it.
            kept = f"[ -e .set ] && . ./.set; set -o pipefail -o allexport\n{text}\nstatus=$?; export -p >.set; exit $status"
            command = ["bash", "-c", f"exec {text}" if text.startswith(_UP) else kept]
        log = self._folder / f".said-{len(self._began)}"
        began = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._began.append(process)
        if step.language == "console" and text.startswith(_UP):
            self._up = process
            status = self._started(process, log)
        else:
            status = self._wait(process, self._patience_s)
        return Done(step, status, time.monotonic() - began, log.read_text(errors="replace"))

    def leaves(self) -> tuple[int | None, list[int]]:
        """Press Ctrl-C where `udair up` runs; its exit status (0 where none does), and the platform's processes left."""
        if self._up is None:
            return 0, []
        self._up.send_signal(signal.SIGINT)
        return self._wait(self._up, 60.0), marked(self._mark)

    def _started(self, process: subprocess.Popen[bytes], log: Path) -> int | None:
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return process.returncode or 1  # a platform that ended by itself is none
            if _STARTED in log.read_text(errors="replace"):
                return 0
            time.sleep(0.2)
        return None

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
