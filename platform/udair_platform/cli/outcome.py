"""How a job ended: its version with every check of the gate, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Output
from udair_platform.cli.render import note, show
from udair_platform.entities.gate_checks import asks, remedy

if TYPE_CHECKING:
    from udair_platform.client import Job
    from udair_platform.contract.versions import GateCheck


def conclude(job: Job, output: Output) -> None:
    """Show what the finished `job` made; ends with 3 if it made nothing, with 4 if the gate said no."""
    from udair_platform.client import GateRejected, JobFailed

    rejected = ""
    try:
        version: Any = job.result()
    except GateRejected as error:
        version, rejected = error.version, str(error)
    except JobFailed as error:
        show(output, job, lines(job), words=job.words)
        code, message = exits.exit_code_of(error)
        note(message)
        raise typer.Exit(code or exits.ERROR) from None
    name = f"{job.domain}@{version.number}"
    shown = [
        ("version", name),
        ("job", job.id),
        ("state", job.state),
        ("gate", version.verdict),
        *((f"  {check.name}", _short(check)) for check in version.report().checks),
    ]
    show(output, {**job.model_dump(mode="json"), "gate": version.gate}, shown, words=version.words)
    if version.verdict not in ("PASSED", "NOT_NEEDED"):
        explain(version.report().checks)
    if rejected:
        note(exits.format_error(rejected, "What served before still serves.", f"udair version gallery {name} --open"))
        raise typer.Exit(exits.GATE_REJECTED)
    if version.verdict == "PASSED":
        note(f"next: udair version gallery {name} --open   udair promote {name}")
    elif version.verdict == "NOT_NEEDED":
        note(
            "nothing to promote: no adapter was made, as the first sentence explains; what served before still serves."
        )
    else:
        note(f"the gate is {version.verdict}; what served before still serves.  udair version show {name}")


def lines(job: Job) -> list[tuple[str, Any]]:
    """A job, for people."""
    shown: list[tuple[str, Any]] = [
        ("job", job.id),
        ("domain", job.domain),
        ("state", job.state),
        ("phase", job.phase),
        ("progress", f"{job.progress_percent:.0f} %"),
        ("priority", job.priority.lower()),
        ("snapshot", job.snapshot_id),
        ("version", job.version),
        ("created", job.created_time),
        ("finished", job.finished_time),
    ]
    if job.reason or job.detail:
        shown.append(("reason", f"{job.reason or ''} {job.detail}".strip()))
    for attempt in job.attempts or []:
        why = f"{attempt.reason}: {attempt.detail}" if attempt.reason else ""
        shown.append((f"attempt {attempt.number}", f"{attempt.state} {why}".strip()))
    return shown


def check_line(check: GateCheck) -> str:
    """One check of the gate, in full."""
    verdict = _held(check)
    measured = "" if check.measured is None else f"{check.measured:.4g}"
    limit = "" if check.limit is None else f"limit {check.limit:g}"
    return f"{verdict:<6} {measured:<8} {limit:<14} {check.detail}".rstrip()


def explain(checks: Sequence[GateCheck]) -> None:
    """Say in words what did not hold, and what to do."""
    for check in checks:
        if check.judged and not check.passed:
            note(f"{check.name}: {asks(check.name) or check.detail} No. {remedy(check.name)}".rstrip())


def _short(check: GateCheck) -> str:
    verdict = _held(check)
    if check.measured is None or check.limit is None:
        return verdict
    return f"{verdict:<6} {check.measured:.4g} (limit {check.limit:g})"


def _held(check: GateCheck) -> str:
    return "FAILED" if not check.passed else "ok" if check.judged else "–"
