"""One job and its attempt under the reconciler's hands, and how their changes are written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from udair_jobs.specs import AdaptResult
from udair_jobs.storage import Storage
from udair_platform.entities.domain import Domain
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState
from udair_platform.errors import LauncherDown, StoreDown
from udair_platform.http.tracing import Tracing
from udair_platform.scheduler import traces
from udair_platform.scheduler.attempt_files import AttemptFiles, read_summary
from udair_platform.scheduler.launcher import Launcher
from udair_platform.scheduler.log_keeper import LogKeeper
from udair_platform.services import jobs
from udair_platform.services.change import Change
from udair_platform.settings import Settings
from udair_platform.state.database import Database
from udair_platform.telemetry import logger

ACTOR = "reconciler"
_log = logger("reconciler.work")


@dataclass(frozen=True)
class AttemptContext:
    """A job, its current attempt, its domain, and the attempt's files, as read at one moment."""

    job: Job
    attempt: Attempt
    domain: Domain
    files: AttemptFiles


@dataclass(frozen=True)
class ReconcilerContext:
    """What the reconciler works with. `change` opens a transaction that checks the lease."""

    change: Callable[[str], AbstractContextManager[Change]]
    database: Database
    store: Storage
    launcher: Launcher
    logs: LogKeeper
    settings: Settings
    now: Callable[[], datetime]
    tracing: Tracing

    @contextmanager
    def write(self, job: Job) -> Iterator[Change]:
        """A transaction about the job's current attempt."""
        with self.change(ACTOR) as tx:
            yield tx.because(f"attempt {job.attempt}")

    def finish(
        self,
        tx: Change,
        job: Job,
        to: JobState,
        *,
        reason: str | None = None,
        detail: str = "",
        summary: Mapping[str, Any] | None = None,
    ) -> Job:
        """Move the job to a final state, settle its snapshot, and tell its trace."""
        ended = jobs.finish(tx, job, to, reason=reason, detail=detail, summary=summary)
        if self.tracing.enabled:
            traces.tell(self.tracing, ended, tx.state.attempts.of_job(job.tenant, job.id))
        return ended

    def running(self, tx: Change, work: AttemptContext) -> AttemptContext:
        """Say that the attempt has been seen to run, unless that is known."""
        job, attempt = work.job, work.attempt
        if attempt.state is AttemptState.LAUNCHED:
            attempt = jobs.change_attempt(tx.because("observed"), attempt, AttemptState.RUNNING)
        if job.state is JobState.PROVISIONING:
            job = jobs.change(tx, job, JobState.RUNNING)
        return replace(work, job=job, attempt=attempt)

    def summary(self, work: AttemptContext, result: AdaptResult | None) -> Mapping[str, Any] | None:
        """What the job found in the customer's bucket, if it got that far."""
        if result is not None and result.snapshot is not None:
            return result.snapshot.model_dump()
        try:
            found = read_summary(self.store, work.domain, work.job)
        except StoreDown:
            return None
        return None if found is None else found.model_dump()

    def stop(self, attempt: Attempt) -> None:
        """Ask the launcher to end the attempt, if the launcher can be asked."""
        try:
            self.launcher.stop(attempt.submission_id)
        except LauncherDown as error:
            _log.info("could not be stopped", submission_id=attempt.submission_id, detail=error.detail)
