"""`udair job`: adaptation jobs, looked at, followed and steered."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli.options import AsOption, Format, Home, Limit, OnePlace, Output, connect, domain_of
from udair_platform.cli.outcome import conclude, lines
from udair_platform.cli.render import note, show, table
from udair_platform.cli.running import Timeout
from udair_platform.cli.watch import watch

if TYPE_CHECKING:
    from udair_platform.client import Job

_EVERY_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"
app = typer.Typer(help="Adaptation jobs.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="JOB", help="e.g. j-5f0c1e2ab94d")]


@app.command("list")
def list_jobs(
    place: OnePlace = "",
    domain: AsOption = "",
    watching: Annotated[bool, typer.Option("--watch", "-w", help="Again every 2 s, until every job is done.")] = False,
    limit: Limit = 20,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Jobs, newest first."""
    client = connect(home)
    wanted = domain_of(place, domain) if place or domain else ""

    def found() -> list[Job]:
        listed = client.domains.get(wanted).jobs(limit=limit) if wanted else client.jobs.list(limit=limit)
        return list(listed)

    columns = {
        "job": "id",
        "domain": None,
        "state": None,
        "phase": None,
        "percent": "progress_percent",
        "version": None,
        "verdict": None,
        "reason": None,
        "created": "created_time",
        "detail": None,
    }
    while True:
        jobs = found()
        if watching and sys.stdout.isatty():
            print(_CLEAR, end="")
        table(output, jobs, columns, empty="no jobs; udair run NAME")
        if not watching or all(job.done for job in jobs):
            return
        time.sleep(_EVERY_S)


@app.command("show")
def show_job(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """One job, with its attempts."""
    found = connect(home).jobs.get(job)
    show(output, found, lines(found), words=found.words)


@app.command()
def logs(
    job: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is done.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; default the last.")] = None,
    home: Home = "",
) -> None:
    """What a job printed."""
    found = connect(home).jobs.get(job)
    if follow:
        for line in found.follow_logs(attempt=attempt):
            print(line, flush=True)
        return
    typer.echo(found.logs(attempt=attempt), nl=False)


@app.command()
def events(
    job: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is done.")] = False,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """What happened to a job, oldest first."""
    found = connect(home).jobs.get(job)
    if follow:
        for event in found.events(follow=True):
            print(f"{event.time.astimezone():%H:%M:%S}  {event.kind:<20} {event.actor}".rstrip(), flush=True)
        return
    columns = {"time": None, "kind": None, "actor": None, "cause": None, "data": None}
    table(output, found.events(), columns, empty="nothing has happened")


@app.command()
def curves(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """How a job's training went, step by step."""
    found = connect(home).jobs.get(job).curves()
    if output in (Output.JSON, Output.YAML):
        show(output, found, [])
        return
    rows = [
        {"figure": curve.name, "step": step, "value": value}
        for curve in found.curves
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    table(output, rows, {"figure": None, "step": None, "value": None}, empty=f"no attempt of {job} has trained yet")


@app.command()
def cancel(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Ask a job to end."""
    cancelled = connect(home).jobs.get(job).cancel()
    show(output, cancelled, [("job", cancelled.id), ("state", cancelled.state)])
    note(f"again: udair job retry {cancelled.id}")


@app.command()
def retry(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Run a job that has ended once more, as a new job."""
    again = connect(home).jobs.get(job).retry()
    show(output, again, [("job", again.id), ("state", again.state)])
    note(f"watch: udair job wait {again.id}")


@app.command()
def wait(job: Id, timeout: Timeout = 0.0, home: Home = "", output: Format = Output.TABLE) -> None:
    """Watch a job until it is done."""
    conclude(watch(connect(home).jobs.get(job), timeout_s=timeout or None), output)
