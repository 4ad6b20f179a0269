"""A job's progress for whoever looks at its stderr: one line that moves on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from udair_jobs.specs import Progress

_BAR = 24
_EVERY_PERCENT = 10  # a line where nothing can move
_CLEAR = "\x1b[2K"


def on_stderr(unit: str) -> Callable[[Progress], None]:
    """A listener for `Reporter` that tells people how far the job is.

    Args:
        unit: The metric that is counted, e.g. ``trials``.
    """
    return _Watching(sys.stderr, unit).show


class _Watching:
    def __init__(self, stream: TextIO, unit: str) -> None:
        self._stream, self._unit = stream, unit
        self._moves = stream.isatty()
        self._said = 0.0

    def show(self, progress: Progress) -> None:
        if os.environ.get("UDAIR_QUIET"):
            return
        done = progress.progress_percent >= 100
        if self._moves:
            filled = round(_BAR * progress.progress_percent / 100)
            # The cursor goes back to the beginning, so that a line of the log takes the place of this one.
            line = f"{_CLEAR}[{'#' * filled}{'.' * (_BAR - filled)}] {self._words(progress)}\r"
            self._stream.write(_CLEAR if done else line)
        elif progress.progress_percent - self._said >= _EVERY_PERCENT and not done:
            self._said = progress.progress_percent
            self._stream.write(f"{self._words(progress)}\n")
        self._stream.flush()

    def _words(self, progress: Progress) -> str:
        count = progress.metrics.get(self._unit)
        return "  ".join(
            part
            for part in (
                f"{progress.progress_percent:3.0f} %",
                (progress.phase or "").lower(),
                "" if count is None else f"{count:,.0f} {self._unit}",
                _left(progress.eta_s),
            )
            if part
        )


def _left(eta_s: float | None) -> str:
    if eta_s is None:
        return ""
    hours, rest = divmod(round(eta_s), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
