"""Jobs as they are wanted: submitted, cancelled, and every change of state with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.entities import job as entity
from udair_platform.entities import snapshot as snapshots
from udair_platform.entities.domain import Domain, DomainState
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState, Priority
from udair_platform.entities.names import new_id
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.entities.tenant import Quota
from udair_platform.errors import InvalidState, NotFound, StoreDown, Unavailable
from udair_platform.services import tenants
from udair_platform.state.repositories import State

LATEST = "latest"
_MAX_LOG_BYTES = 2**22
_NO_LIMIT = Quota()


def submit(
    state: State,
    store: Storage,
    domain: Domain,
    *,
    recipe: Mapping[str, Any],
    snapshot: str | None,
    actor: str,
    now: datetime,
    cause: str = "request",
    priority: Priority = Priority.NORMAL,
    quota: Quota = _NO_LIMIT,
    job_id: str | None = None,
    trace: str | None = None,
) -> Job:
    """Queue an adaptation of `domain`.

    Args:
        recipe: Fields of `udair_jobs.specs.RecipeSpec`, validated by the caller.
        snapshot: A snapshot of the domain to use again, or ``latest``; None makes a new one.
        cause: Why, for the event.
        quota: Limits of tenants that have none of their own.
        job_id: A name derived from an idempotency key: a job of that name is returned as it is.
        trace: W3C ``traceparent`` of the request.

    Raises:
        NotFound: There is no such snapshot.
        InvalidState: The snapshot is not ACTIVE.
        QuotaExceeded: The tenant has as many unfinished jobs as it may.
        Unavailable: The platform has no base model yet.
    """
    known = state.jobs.find(domain.tenant, job_id) if job_id else None
    if known is not None:
        return known
    tenants.check_room_for_job(state, domain.tenant, quota)
    base = state.bases.current()
    if base is None:
        raise Unavailable("The platform has no base model yet; its operator registers one at start.")
    id = job_id or new_id("j")
    pinned = _pinned(state, domain, snapshot) if snapshot else _fresh(state, store, domain, id, now)
    job = Job(
        id=id,
        tenant=domain.tenant,
        domain_id=domain.id,
        snapshot_id=pinned.id,
        base_name=base.name,
        base_digest=base.digest,
        base_uri=base.uri,
        actor=actor,
        recipe=dict(recipe),
        priority=priority,
        trace=trace,
        created_time=now,
        updated_time=now,
    )
    state.jobs.add(job)
    record(state, job, now=now, actor=actor, cause=cause)
    return state.jobs.get(job.tenant, job.id)


def retry(
    state: State,
    store: Storage,
    domain: Domain,
    job: Job,
    *,
    quota: Quota,
    actor: str,
    now: datetime,
    job_id: str | None = None,
    trace: str | None = None,
) -> Job:
    """Queue a job like `job`, of the images that it had listed if it got that far.

    Raises:
        InvalidState: It has not ended, or its domain is deleted.
        QuotaExceeded: The tenant has as many unfinished jobs as it may.
    """
    if not job.done:
        raise InvalidState(f"Job {job.id} is {job.state}; only a job that has ended can be run again.")
    if domain.state is not DomainState.ACTIVE:
        raise InvalidState(f"Domain {domain.name!r} is {domain.state}; its jobs cannot be run again.")
    listed = state.snapshots.get(job.tenant, job.snapshot_id)
    return submit(
        state,
        store,
        domain,
        recipe=job.recipe,
        snapshot=listed.id if listed.state is SnapshotState.ACTIVE else None,
        actor=actor,
        now=now,
        cause=f"retry of {job.id}",
        priority=job.priority,
        quota=quota,
        job_id=job_id,
        trace=trace,
    )


def cancel(state: State, job: Job, *, actor: str, now: datetime) -> Job:
    """Ask for `job` to end. A job that runs becomes CANCELLING; the reconciler does the rest.

    Raises:
        InvalidState: It has ended otherwise.
    """
    if job.state in (JobState.CANCELLING, JobState.CANCELLED):
        return job
    if job.state in (JobState.PROVISIONING, JobState.RUNNING):
        return change(state, job, JobState.CANCELLING, now=now, actor=actor, cause="request")
    if job.done:
        raise InvalidState(f"Job {job.id} is {job.state}; only a job that has not ended can be cancelled.")
    return finish(state, job, JobState.CANCELLED, reason="USER_CANCELLED", now=now, actor=actor, cause="request")


def change(
    state: State,
    job: Job,
    to: JobState,
    *,
    now: datetime,
    actor: str,
    cause: str,
    reason: str | None = None,
    detail: str = "",
) -> Job:
    """Move `job` to state `to` and say so in an event. Raises InvalidState and StaleWrite."""
    saved = state.jobs.save(entity.advance(job, to, now=now, reason=reason, detail=detail))
    record(state, saved, now=now, actor=actor, cause=cause)
    return saved


def finish(
    state: State,
    job: Job,
    to: JobState,
    *,
    now: datetime,
    actor: str,
    cause: str,
    reason: str | None = None,
    detail: str = "",
    summary: Mapping[str, Any] | None = None,
) -> Job:
    """Move `job` to a final state, and settle the snapshot that it was to make."""
    saved = change(state, job, to, now=now, actor=actor, cause=cause, reason=reason, detail=detail)
    settle_snapshot(state, saved, summary, now=now, actor=actor, detail=detail)
    return saved


def settle_snapshot(
    state: State,
    job: Job,
    summary: Mapping[str, Any] | None,
    *,
    now: datetime,
    actor: str,
    detail: str = "",
) -> None:
    """Record what the job's snapshot turned out to be; one that another job made is left alone."""
    snapshot = state.snapshots.get(job.tenant, job.snapshot_id)
    if snapshot.state is not SnapshotState.SCANNING or snapshot.job_id != job.id:
        return
    to = SnapshotState.ACTIVE if summary is not None else SnapshotState.FAILED
    moved = state.snapshots.save(snapshots.advance(snapshot, to, now=now, summary=summary, detail=detail))
    _record_snapshot(state, moved, now=now, actor=actor, cause=f"job {job.id}")


def change_attempt(
    state: State,
    attempt: Attempt,
    to: AttemptState,
    *,
    now: datetime,
    actor: str,
    cause: str,
    reason: str | None = None,
    detail: str = "",
) -> Attempt:
    """Move `attempt` to state `to` and say so in an event."""
    saved = state.attempts.save(entity.advance_attempt(attempt, to, now=now, reason=reason, detail=detail))
    state.record(
        tenant=saved.tenant,
        now=now,
        actor=actor,
        cause=cause,
        noun="attempt",
        name=saved.submission_id,
        kind=f"attempt.{saved.state}",
        data={"job": saved.job_id, "reason": reason},
    )
    return saved


def log_of(store: Storage, domain: Domain, job: Job, attempt: int) -> str:
    """What an attempt of the job has printed; empty until it has printed something.

    Raises:
        StoreDown: The store does not answer.
    """
    key = f"{store_paths.attempt(job.tenant, domain.name, job.id, attempt)}/{store_paths.LOG}"
    try:
        return store.get(key, max_bytes=_MAX_LOG_BYTES).decode(errors="replace")
    except NoObject:
        return ""
    except StorageError as error:
        raise StoreDown("The log cannot be read now.") from error


def record(state: State, job: Job, *, now: datetime, actor: str, cause: str) -> None:
    """Append the event that `job` is now in its state and phase."""
    state.record(
        tenant=job.tenant,
        now=now,
        actor=actor,
        cause=cause,
        noun="job",
        name=job.id,
        kind=f"job.{job.state}",
        domain_id=job.domain_id,
        data={
            "state": job.state.value,
            "phase": job.phase,
            "progress_percent": job.progress_percent,
            "attempt": job.attempt,
            "reason": job.reason,
            "detail": job.detail[:500],
            "version": job.version,
        },
    )


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


def _fresh(state: State, store: Storage, domain: Domain, job_id: str, now: datetime) -> Snapshot:
    id = new_id("s")
    snapshot = Snapshot(
        id=id,
        tenant=domain.tenant,
        domain_id=domain.id,
        job_id=job_id,
        uri=store.at(store_paths.snapshot(domain.tenant, domain.name, id)).uri,
        created_time=now,
        updated_time=now,
    )
    state.snapshots.add(snapshot)
    _record_snapshot(state, snapshot, now=now, actor="platform", cause=f"job {job_id}")
    return replace(snapshot)


def _record_snapshot(state: State, snapshot: Snapshot, *, now: datetime, actor: str, cause: str) -> None:
    state.record(
        tenant=snapshot.tenant,
        now=now,
        actor=actor,
        cause=cause,
        noun="snapshot",
        name=snapshot.id,
        kind=f"snapshot.{snapshot.state}",
        domain_id=snapshot.domain_id,
        data={"digest": snapshot.digest},
    )
