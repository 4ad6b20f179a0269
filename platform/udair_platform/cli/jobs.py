"""`udair run` and `udair job`: adaptation, watched and looked back at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import DomainName, Format, Home, Output, connect
from udair_platform.cli.render import note, show, table
from udair_platform.cli.watch import watch

if TYPE_CHECKING:
    from udair_platform.client import Job, Version

app = typer.Typer(help="Adaptation jobs.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="JOB", help="e.g. j-5f0c1e2ab94d")]
Timeout = Annotated[float, typer.Option(help="Longest wait, seconds; 0 waits for ever. Exit code 124.")]


def register(root: typer.Typer) -> None:
    """Add `run` to the root command."""
    root.command()(run)


def run(
    domain: DomainName,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Watch it, or return at once.")] = True,
    steps: Annotated[int | None, typer.Option(min=0, max=2000, help="Adapter-training steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    budget_s: Annotated[float | None, typer.Option("--budget-s", help="Training ends after, seconds.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Use a snapshot again: its id, or 'latest'.")] = None,
    timeout: Timeout = 0.0,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Adapt the model to a domain's images and let the gate judge the result."""
    given = {"steps": steps, "seed": seed, "budget_s": budget_s}
    recipe: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    job = connect(home).domains.get(domain).adapt(snapshot=snapshot, **recipe)
    if not wait:
        show(output, job, [("job", job.id), ("state", job.state)])
        note(f"watch: udair job wait {job.id}")
        return
    _conclude(watch(job, timeout_s=timeout or None), output)


@app.command("list")
def list_jobs(
    domain: Annotated[str | None, typer.Option("--domain", "-d", help="Only of this domain.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
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
    show(output, found, _lines(found))


@app.command()
def logs(
    job: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is done.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; default the last.")] = None,
    home: Home = "",
) -> None:
    """What a job printed."""
    found = connect(home).jobs.get(job)
    shown = ""
    while True:
        done = found.done
        said = found.logs(attempt=attempt)
        typer.echo(said[len(shown) :] if said.startswith(shown) else said, nl=False)
        shown = said
        if done or not follow:
            return
        time.sleep(1.0)
        found = found.refresh()


@app.command()
def cancel(job: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Ask a job to end."""
    cancelled = connect(home).jobs.get(job).cancel()
    show(output, cancelled, [("job", cancelled.id), ("state", cancelled.state)])


@app.command()
def wait(job: Id, timeout: Timeout = 0.0, home: Home = "", output: Format = Output.TABLE) -> None:
    """Watch a job until it is done."""
    _conclude(watch(connect(home).jobs.get(job), timeout_s=timeout or None), output)


def _conclude(job: Job, output: Output) -> None:
    from udair_platform.client import GateRejected, JobFailed

    version: Version | None = None
    rejected = ""
    try:
        version = job.result()
    except GateRejected as error:
        version, rejected = error.version, str(error)
    except JobFailed as error:
        show(output, job, _lines(job))
        note(str(error))
        raise typer.Exit(exits.JOB_FAILED) from None
    assert version is not None
    checks = version.report().checks
    name = f"{job.domain}@{version.number}"
    lines = [
        ("job", job.id),
        ("state", job.state),
        ("version", name),
        ("gate", version.verdict),
        *((f"  {check.name}", _check(check.measured, check.limit, check.passed)) for check in checks),
    ]
    show(output, {**job.model_dump(mode="json"), "gate": version.gate}, lines)
    if rejected:
        note(f"{rejected} What served before still serves.")
        raise typer.Exit(exits.GATE_REJECTED)
    if version.verdict == "PASSED":
        note(f"next: udair promote {name}")
    else:
        note(f"the gate is {version.verdict}; what served before still serves.  udair version show {name}")


def _check(measured: float | None, limit: float | None, passed: bool) -> str:
    verdict = "ok" if passed else "FAILED"
    if measured is None or limit is None:
        return verdict
    return f"{verdict:<6} {measured:.4g} (limit {limit:g})"


def _lines(job: Job) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = [
        ("job", job.id),
        ("domain", job.domain),
        ("state", job.state),
        ("phase", job.phase),
        ("progress", f"{job.progress_percent:.0f} %"),
        ("snapshot", job.snapshot),
        ("version", job.version),
        ("created", job.created_time),
        ("finished", job.finished_time),
    ]
    if job.reason or job.detail:
        lines.append(("reason", f"{job.reason or ''} {job.detail}".strip()))
    for attempt in job.attempts or []:
        why = f"{attempt.reason}: {attempt.detail}" if attempt.reason else ""
        lines.append((f"attempt {attempt.number}", f"{attempt.state} {why}".strip()))
    return lines
