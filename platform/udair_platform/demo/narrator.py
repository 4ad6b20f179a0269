"""Tells a person what is going on: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Narrator:
    """One line per stage, and how long each took."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}
        self._live = sys.stderr.isatty()

    def say(self, sentence: str) -> None:
        """One plain fact."""
        self.console.print(f"         {sentence}", soft_wrap=True)

    @contextmanager
    def stage(self, name: str, purpose: str) -> Iterator[None]:
        """A named stage; its seconds go into the report."""
        self.console.print(f"[bold]{name:<8}[/bold] {purpose}")
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    @contextmanager
    def bar(self) -> Iterator[Bar]:
        """A progress bar, or a line whenever the phase changes."""
        if not self._live:
            yield Bar(None, self)
            return
        columns = (TextColumn("         {task.description:<11}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as progress:
            yield Bar(progress, self)


class Bar:
    """Progress of one job."""

    def __init__(self, progress: Progress | None, narrator: Narrator) -> None:
        self._progress, self._narrator = progress, narrator
        self._task = progress.add_task("", total=100) if progress else None
        self._said = ""

    def update(self, phase: str, percent: float) -> None:
        """Show where the job is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=phase.lower(), completed=percent)
        if phase and phase != self._said:
            self._said = phase
            if self._progress is None:
                self._narrator.say(f"{phase.lower():<11} {percent:3.0f}%")
