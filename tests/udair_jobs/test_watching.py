"""What people see of a job on stderr: a line that moves on a terminal, and lines now and then elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import threading

import pytest

from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.watching import on_stderr
from udair_jobs.storage import open_storage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Runs a job of a hundred seconds with stderr as it is given; its reporter tells what it tells."""

    def run(stream) -> None:
        monkeypatch.setattr("sys.stderr", stream)
        clock = Clock()
        reporter = Reporter(
            open_storage(str(tmp_path)), {"LISTING": 10, "RESTORING": 90}, listener=on_stderr("objects"), clock=clock
        )
        reporter.report("LISTING")
        for second in range(1, 101):
            clock.now = float(second)
            reporter.report("RESTORING", second / 100, {"objects": 50 * second})

    return run


def test_elsewhere_than_on_a_terminal_there_are_a_few_whole_lines(ran, monkeypatch) -> None:
    stream = io.StringIO()
    ran(stream)
    lines = stream.getvalue().splitlines()
    assert 8 <= len(lines) <= 12
    assert "restoring" in lines[4]
    assert "objects" in lines[4]
    assert "left" in lines[4]
    assert "\x1b" not in stream.getvalue()

    monkeypatch.setenv("UDAIR_QUIET", "1")
    silent = io.StringIO()
    ran(silent)
    assert silent.getvalue() == ""


def test_on_a_terminal_one_line_moves_and_is_gone_at_the_end(ran) -> None:
    ours, theirs = os.openpty()
    read: list[bytes] = []

    def look() -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while data := os.read(ours, 4096):
                read.append(data)

    looking = threading.Thread(target=look)
    looking.start()
    with os.fdopen(theirs, "w") as stream:
        ran(stream)
    looking.join(10)
    os.close(ours)
    shown = b"".join(read).decode()
    assert "\n" not in shown
    half = next(line for line in shown.split("\r") if " 55 %" in line)
    assert half.endswith("2,500 objects  0:41 left")
    assert half.count("#") == 13
    assert shown.endswith("\x1b[2K")
