"""Jobs as they are wanted: submitted, cancelled, and every change of state with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from udair_jobs.specs import CurveSet
from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError, TooLarge
from udair_platform.contract.jobs import Curve, JobCurves
from udair_platform.documents import store_paths
from udair_platform.documents.job_log import JobLog
from udair_platform.entities import job as entity
from udair_platform.entities import snapshot as snapshots
from udair_platform.entities.domain import Domain, DomainState
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState, Priority
from udair_platform.entities.names import new_id
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.errors import InvalidState, NotFound, StoreDown, Unavailable
from udair_platform.services import budgets, tenants
from udair_platform.services.change import Change
from udair_platform.state.repositories import State

LATEST = "latest"
_MAX_LOG_BYTES, _MAX_CURVES_BYTES = 2**22, 2**20


def submit(
    tx: Change,
    domain: Domain,
    *,
    recipe: Mapping[str, Any],
    snapshot: str | None = None,
    priority: Priority = Priority.NORMAL,
    job_id: str | None = None,
    asked_by: Sequence[str] = (),
) -> Job:
    """Queue an adaptation of `domain`.

    Args:
        recipe: Fields of `udair.config.RecipeConfig`, validated by the caller.
        snapshot: A snapshot of the domain to use again, or ``latest``; None makes a new one.
        job_id: A name derived from an idempotency key: a job of that name is returned as it is.
        asked_by: On whose account it runs, where that is not the actor's alone.

    Raises:
        NotFound: There is no such snapshot.
        InvalidState: The snapshot is not ACTIVE.
        QuotaExceeded: The tenant has as many unfinished jobs as it may.
        BudgetSpent: The tenant's budget of this month is spent.
        Unavailable: The platform has no base model yet.
    """
    state = tx.state
    known = state.jobs.find(domain.tenant, job_id) if job_id else None
    if known is not None:
        return known
    tenants.check_room_for_job(tx, domain.tenant)
    budgets.check_unspent(tx, domain.tenant)
    base = state.bases.current()
    if base is None:
        raise Unavailable("The platform has no base model yet; its operator registers one at start.")
    id = job_id or new_id("j")
    pinned = _pinned(state, domain, snapshot) if snapshot else _fresh(tx, domain, id)
    job = Job(
        id=id,
        tenant=domain.tenant,
        domain_id=domain.id,
        snapshot_id=pinned.id,
        base_name=base.name,
        base_digest=base.digest,
        base_uri=base.uri,
        actor=tx.actor,
        asked_by=tuple(dict.fromkeys(asked_by or (tx.actor,))),
        recipe=dict(recipe),
        priority=priority,
        tone=domain.tone,
        tone_aim=domain.tone_aim,
        reference_uri=domain.reference_uri,
        trace=tx.trace,
        created_time=tx.now,
        updated_time=tx.now,
    )
    state.jobs.add(job)
    record(tx, job)
    return state.jobs.get(job.tenant, job.id)


def retry(tx: Change, domain: Domain, job: Job, *, job_id: str | None = None) -> Job:
    """Queue a job like `job`, of the images that it had listed if it got that far.

    Raises:
        InvalidState: It has not ended, or its domain is deleted.
        QuotaExceeded: The tenant has as many unfinished jobs as it may.
        BudgetSpent: The tenant's budget of this month is spent.
    """
    if not job.done:
        raise InvalidState(f"Job {job.id} is {job.state}; only a job that has ended can be run again.")
    if domain.state is not DomainState.ACTIVE:
        raise InvalidState(f"Domain {domain.name!r} is {domain.state}; its jobs cannot be run again.")
    listed = tx.state.snapshots.get(job.tenant, job.snapshot_id)
    return submit(
        tx.because(f"retry of {job.id}"),
        domain,
        recipe=job.recipe,
        snapshot=listed.id if listed.state is SnapshotState.ACTIVE else None,
        priority=job.priority,
        job_id=job_id,
        asked_by=(*(job.asked_by or (job.actor,)), tx.actor),
    )


def cancel(tx: Change, job: Job) -> Job:
    """Ask for `job` to end. A job that runs becomes CANCELLING; the reconciler does the rest.

    Raises:
        InvalidState: It has ended otherwise.
    """
    if job.state in (JobState.CANCELLING, JobState.CANCELLED):
        return job
    if job.state in (JobState.PROVISIONING, JobState.RUNNING):
        return change(tx, job, JobState.CANCELLING)
    if job.done:
        raise InvalidState(f"Job {job.id} is {job.state}; only a job that has not ended can be cancelled.")
    return finish(tx, job, JobState.CANCELLED, reason="USER_CANCELLED")


def change(tx: Change, job: Job, to: JobState, *, reason: str | None = None, detail: str = "") -> Job:
    """Move `job` to state `to` and say so in an event. Raises InvalidState and StaleWrite."""
    saved = tx.state.jobs.save(entity.advance(job, to, now=tx.now, reason=reason, detail=detail))
    record(tx, saved)
    return saved


def finish(
    tx: Change,
    job: Job,
    to: JobState,
    *,
    reason: str | None = None,
    detail: str = "",
    summary: Mapping[str, Any] | None = None,
) -> Job:
    """Move `job` to a final state, and settle the snapshot that it was to make."""
    saved = change(tx, job, to, reason=reason, detail=detail)
    settle_snapshot(tx, saved, summary, detail=detail)
    return saved


def settle_snapshot(tx: Change, job: Job, summary: Mapping[str, Any] | None, *, detail: str = "") -> None:
    """Record what the job's snapshot turned out to be; one that another job made is left alone."""
    snapshot = tx.state.snapshots.get(job.tenant, job.snapshot_id)
    if snapshot.state is not SnapshotState.SCANNING or snapshot.job_id != job.id:
        return
    to = SnapshotState.ACTIVE if summary is not None else SnapshotState.FAILED
    moved = tx.state.snapshots.save(snapshots.advance(snapshot, to, now=tx.now, summary=summary, detail=detail))
    _record_snapshot(tx.because(f"job {job.id}"), moved)


def hold(tx: Change, job: Job, why: str) -> Job:
    """Say of a waiting job that it waits for the next month's budget, and why; with no `why`, that it does no longer."""
    reason = entity.HELD if why else None
    held = tx.state.jobs.save(replace(job, reason=reason, detail=why, updated_time=tx.now))
    record(tx.because("budget"), held)
    return held


def change_attempt(
    tx: Change, attempt: Attempt, to: AttemptState, *, reason: str | None = None, detail: str = ""
) -> Attempt:
    """Move `attempt` to state `to` and say so in an event."""
    saved = tx.state.attempts.save(entity.advance_attempt(attempt, to, now=tx.now, reason=reason, detail=detail))
    tx.record(saved, f"attempt.{saved.state}", {"job": saved.job_id, "reason": reason})
    return saved


def record(tx: Change, job: Job) -> None:
    """Append the event that `job` is now in its state and phase."""
    data = {name: getattr(job, name) for name in ("phase", "progress_percent", "attempt", "reason", "version")}
    tx.record(job, f"job.{job.state}", data | {"state": job.state.value, "detail": job.detail[:500]})


def log_of(store: Storage, domain: Domain, job: Job, attempt: int) -> JobLog:
    """What is kept of what an attempt of the job has printed; empty until it has printed something.

    Raises:
        StoreDown: The store does not answer.
    """
    key = f"{store_paths.attempt(job.tenant, domain.name, job.id, attempt)}/{store_paths.LOG}"
    try:
        return JobLog.parse(store.get(key, max_bytes=_MAX_LOG_BYTES))
    except NoObject:
        return JobLog()
    except StorageError as error:
        raise StoreDown("The log cannot be read now.") from error


def curves_of(store: Storage, domain: Domain, job: Job) -> JobCurves:
    """What the newest attempt that trained has told of it; one whose curves are damaged counts as one that has not.

    Raises:
        StoreDown: The store does not answer.
    """
    for number in range(job.attempt, 0, -1):
        key = f"{store_paths.attempt(job.tenant, domain.name, job.id, number)}/{store_paths.CURVES}"
        try:
            told = CurveSet.model_validate_json(store.get(key, max_bytes=_MAX_CURVES_BYTES))
        except (NoObject, TooLarge, ValidationError):
            continue
        except StorageError as error:
            raise StoreDown("The curves cannot be read now.") from error
        return JobCurves(attempt=number, curves=[Curve.describe(curve) for curve in told.curves])
    return JobCurves(attempt=0, curves=[])


def _pinned(state: State, domain: Domain, name: str) -> Snapshot:
    if name == LATEST:
        latest = state.snapshots.latest(domain.tenant, domain.id)
        if latest is None:
            raise NotFound(f"Domain {domain.name!r} has no usable snapshot yet; leave `snapshot` out to make one.")
        return latest
    snapshot = state.snapshots.get(domain.tenant, name, domain_id=domain.id)
    if snapshot.state is not SnapshotState.ACTIVE:
        raise InvalidState(f"Snapshot {name} is {snapshot.state}; only an ACTIVE one can be used again.")
    return snapshot


def _fresh(tx: Change, domain: Domain, job_id: str) -> Snapshot:
    id = new_id("s")
    snapshot = Snapshot(
        id=id,
        tenant=domain.tenant,
        domain_id=domain.id,
        job_id=job_id,
        uri=tx.store.at(store_paths.snapshot(domain.tenant, domain.name, id)).uri,
        created_time=tx.now,
        updated_time=tx.now,
    )
    tx.state.snapshots.add(snapshot)
    _record_snapshot(tx.because(f"job {job_id}", actor="platform"), snapshot)
    return snapshot


def _record_snapshot(tx: Change, snapshot: Snapshot) -> None:
    tx.record(snapshot, f"snapshot.{snapshot.state}", {"digest": snapshot.digest})
