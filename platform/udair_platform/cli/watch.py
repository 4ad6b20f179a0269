"""Watching a job: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from udair_platform.cli.render import note

if TYPE_CHECKING:
    from udair_platform.client import Job


def watch(job: Job, *, timeout_s: float | None = None) -> Job:
    """Show the job until it is done and return it. Ctrl-C stops watching, never the job.

    Raises:
        WaitTimeout: It was not done in time.
    """
    try:
        if sys.stderr.isatty():
            return _bar(job, timeout_s)
        return _lines(job, timeout_s)
    except KeyboardInterrupt:
        note(f"detached; the job goes on.  udair job wait {job.id}   udair job cancel {job.id}")
        raise


def _lines(job: Job, timeout_s: float | None) -> Job:
    last, said = job, ""
    for last in job.stream(timeout_s=timeout_s):
        line = f"{last.state.lower():<12} {_phase(last)}".rstrip()
        if line != said:
            said = line
            note(f"{last.id}  {line}")
    return last


def _bar(job: Job, timeout_s: float | None) -> Job:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    last = job
    columns = (
        TextColumn("{task.fields[job]}"),
        TextColumn("{task.fields[state]:<12}"),
        TextColumn("{task.fields[phase]:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=100, job=job.id, state="queued", phase="")
        for last in job.stream(timeout_s=timeout_s):
            state, phase = last.state.lower(), _phase(last)
            progress.update(bar, completed=last.progress_percent, state=state, phase=phase)
    return last


def _phase(job: Job) -> str:
    if job.phase is None:
        return job.reason.lower().replace("_", " ") if job.reason and not job.done else ""
    return job.phase.lower()
