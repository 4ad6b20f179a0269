"""`udair job`: adaptation jobs, looked at, followed and steered."""

from __future__ import annotations

from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Limit, Output, connect
from udair_platform.cli.outcome import conclude, lines
from udair_platform.cli.render import note, show, table
from udair_platform.cli.running import Timeout
from udair_platform.cli.watch import watch

app = typer.Typer(help="Adaptation jobs.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="JOB", help="e.g. j-5f0c1e2ab94d")]


@app.command("list")
def list_jobs(
    domain: Annotated[str | None, typer.Option("--domain", "-d", help="Only of this domain.")] = None,
    limit: Limit = 20,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Jobs, newest first."""
    client = connect(home)
    jobs = client.domains.get(domain).jobs(limit=limit) if domain else client.jobs.list(limit=limit)
    columns = {
        "job": "id",
        "domain": None,
        "state": None,
        "phase": None,
        "percent": "progress_percent",
        "version": None,
        "reason": None,
        "created": "created_time",
    }
    table(output, jobs, columns, empty="no jobs; udair run -d NAME")


@app.command("show")
def show_job(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """One job, with its attempts."""
    found = connect(home).jobs.get(job)
    show(output, found, lines(found))


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
