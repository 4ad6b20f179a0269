"""Adaptations that nobody asks for at the moment: at times of a schedule, or because the domain has drifted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from udair_platform.contract.domains import Schedule
from udair_platform.entities.domain import Domain
from udair_platform.entities.job import Job, Priority
from udair_platform.entities.names import derived_id
from udair_platform.errors import FieldError, Invalid, PlatformError
from udair_platform.services import jobs
from udair_platform.services.change import Change
from udair_platform.state.repositories import ALL_TENANTS, State

ACTOR = "schedule"
MIN_PERIOD = timedelta(minutes=15)
SKIPPED = "domain.schedule_skipped"


def next_time(schedule: Schedule, after: datetime) -> datetime | None:
    """The first time of `schedule` after `after`, in UTC; None without one.

    Raises:
        Invalid: The expression is none, never comes true, or does so more often than every 15 minutes.
    """
    if not schedule.cron:
        return None
    try:
        times = CronSim(schedule.cron, after.astimezone(UTC))
        first, second = next(times), next(times)
    except (CronSimError, StopIteration) as error:
        why = "never comes true" if isinstance(error, StopIteration) else str(error)
        raise _invalid(schedule.cron, f"{why}; expected five fields, UTC, e.g. '0 3 * * 1'") from error
    if second - first < MIN_PERIOD:
        raise _invalid(schedule.cron, f"comes true every {second - first}; expected {MIN_PERIOD} or more")
    return first


def run(tx: Change, domain: Domain) -> Job | None:
    """Adapt a domain whose time has come, unless it is being adapted, and set its next time.

    However late this is: times that were missed are one time. The job's name follows from the time, so
    that whoever repeats this has one job.
    """
    due = domain.next_run_time or tx.now
    tx.state.domains.save(replace(domain, next_run_time=next_time(domain.schedule, tx.now)))
    return _submit(tx.because(f"schedule {due.isoformat()}", actor=ACTOR), domain)


def run_on_drift(tx: Change, domain: Domain) -> Job | None:
    """Adapt a domain that has drifted, if it wants that and is not being adapted."""
    if not domain.schedule.on_drift:
        return None
    return _submit(tx.because(f"drift {tx.now.isoformat()}", actor=ACTOR), domain)


def due(state: State, now: datetime) -> list[Domain]:
    """Domains whose time has come."""
    return state.domains.due(ALL_TENANTS, now)


def _submit(tx: Change, domain: Domain) -> Job | None:
    running = tx.state.jobs.unfinished(domain.tenant, domain_id=domain.id)
    try:
        if running:
            raise Invalid(f"job {running[0].id} has not ended")
        name = derived_id("j", domain.id, tx.cause)
        asked_by = (domain.scheduled_by,) if domain.scheduled_by else ()
        return jobs.submit(
            tx, domain, recipe=domain.schedule.recipe, priority=Priority.LOW, job_id=name, asked_by=asked_by
        )
    except PlatformError as error:
        tx.record(domain, SKIPPED, {"why": error.detail})
        return None


def _invalid(cron: str, problem: str) -> Invalid:
    detail = f"cron {cron[:80]!r} {problem}."
    return Invalid(detail, errors=[FieldError("/schedule/cron", detail)])
