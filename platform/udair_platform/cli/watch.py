"""Watching a job: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udair_platform.cli.render import note, watched

if TYPE_CHECKING:
    from udair_platform.client import Job

_NARROW = 90  # columns below which a bar gives up what can be read elsewhere


def watch(job: Job, *, timeout_s: float | None = None) -> Job:
    """Show the job until it is done and return it. Ctrl-C stops watching, never the job.

    Raises:
        WaitTimeout: It was not done in time.
    """
    try:
        if watched():
            return _bar(job, timeout_s)
        return _lines(job, timeout_s)
    except KeyboardInterrupt:
        note(f"detached; the job goes on.  udair job wait {job.id}   udair job cancel {job.id}")
        raise


def _lines(job: Job, timeout_s: float | None) -> Job:
    last, message = job, ""
    for last in job.stream(timeout_s=timeout_s):
        line = f"{last.state.lower():<12} {_phase(last)}  {_waits(last)}".rstrip()
        if line != message:
            message = line
            note(f"{last.id}  {line}")
    return last


def _bar(job: Job, timeout_s: float | None) -> Job:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[phase]}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    ]
    if console.width >= _NARROW:
        columns = [TextColumn("{task.fields[job]}"), *columns, TextColumn("{task.fields[metrics]}", style="dim")]
    last, waits = job, ""
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=100, job=job.id, state="queued", phase="", left="", metrics="")
        for last in job.stream(timeout_s=timeout_s):
            if (why := _waits(last)) and why != waits:
                progress.console.print(why, style="dim", markup=False)
            waits = why
            progress.update(
                bar,
                completed=last.progress_percent,
                state=last.state.lower(),
                phase=_phase(last),
                left=_left(last),
                metrics=metrics(last),
            )
    return last


def metrics(job: Job, most: int = 3) -> str:
    """The job's newest figures, the first few."""
    known = [(name, value) for name, value in job.metrics.items() if value is not None]
    return "  ".join(f"{name} {value:.3g}" for name, value in known[:most])


def _left(job: Job) -> str:
    if job.eta_s is None or job.done:
        return ""
    minutes, seconds = divmod(round(job.eta_s), 60)
    return f"{minutes}:{seconds:02} left"


def _waits(job: Job) -> str:
    """Why it does not go on, in the cluster's words."""
    return job.detail if job.reason and not job.done else ""


def _phase(job: Job) -> str:
    if job.phase is None:
        return job.reason.lower().replace("_", " ") if job.reason and not job.done else ""
    return job.phase.lower()
