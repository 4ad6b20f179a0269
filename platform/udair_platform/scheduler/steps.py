"""What the reconciler does for one job in one tick: give it an attempt, launch it, look after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from udair_jobs.specs import AdaptResult, Progress, Reason
from udair_platform.documents import store_paths
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState, submission_id
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import Invalid, NotLaunched, PlatformError
from udair_platform.scheduler import outcomes
from udair_platform.scheduler.attempt_files import AttemptFiles, DamagedFile, spec_of
from udair_platform.scheduler.context import AttemptContext, ReconcilerContext
from udair_platform.scheduler.launcher import ALIVE, Cause, LaunchRequest, LaunchState
from udair_platform.scheduler.state_timeouts import missed
from udair_platform.services import gate, jobs
from udair_platform.services.source_uri import check_folders
from udair_platform.state.repositories import State
from udair_platform.telemetry import logger

_LOOK_EVERY_S = 5.0  # at its log, and at why it waits
_UNKNOWN_GRACE_S = 10.0  # a launcher may take a moment to know what it was just given

_log = logger("reconciler.steps")


class Steps:
    """The reconciler's hands; each method is one job's turn and is safe to repeat."""

    def __init__(self, tools: ReconcilerContext) -> None:
        self._tools = tools
        self._looked: dict[str, datetime] = {}

    def provision(self, job: Job) -> None:
        """Commit the next attempt of a waiting job, then launch it."""
        tools, number = self._tools, job.attempt + 1
        with tools.write(replace(job, attempt=number)) as tx:
            domain = tx.state.domains.by_id(job.tenant, job.domain_id)
            attempt = Attempt(
                job_id=job.id,
                tenant=job.tenant,
                number=number,
                submission_id=submission_id(job.id, number),
                output_uri=tools.store.at(store_paths.attempt(job.tenant, domain.name, job.id, number)).uri,
                created_time=tx.now,
            )
            tx.state.attempts.add(attempt)
            job = jobs.change(tx, replace(job, attempt=number, heartbeat_time=None), JobState.PROVISIONING)
        self._launch(self._work(job, attempt, domain))

    def advance(self, job: Job) -> None:
        """Look after a job that has an attempt under way."""
        with self._tools.database.read() as state:
            attempt = state.attempts.get(job.tenant, job.id, job.attempt)
            domain = state.domains.by_id(job.tenant, job.domain_id)
        work = self._work(job, attempt, domain)
        if job.state is JobState.CANCELLING:
            outcomes.cancel(self._tools, work)
        elif attempt.state is AttemptState.PENDING:
            self._launch(work)
        else:
            self._observe(work)

    def expire(self, job: Job, reason: Reason, detail: str) -> None:
        """End a job that has waited too long for an attempt."""
        with self._tools.write(job) as tx:
            self._tools.finish(tx, job, JobState.EXPIRED, reason=reason, detail=detail)

    def _launch(self, work: AttemptContext) -> None:
        tools = self._tools
        if late := missed(work.attempt, now=tools.now(), settings=tools.settings):
            # It may have been launched by a tick that was killed before it could say so.
            outcomes.fail(tools, work, *late, decided=False)
            return
        with tools.database.read() as state:
            snapshot = state.snapshots.get(work.job.tenant, work.job.snapshot_id)
            champion = _champion(state, work)
        checkpoints = tools.store.at(store_paths.checkpoints(work.job.tenant, work.domain.name, work.job.id))
        spec = spec_of(
            work.job,
            work.attempt,
            work.domain,
            snapshot,
            tools.settings,
            checkpoint_uri=checkpoints.uri,
            champion_uri=champion.candidate_uri if champion else None,
        )
        try:
            check_folders([spec.source_uri, spec.reference_uri], tools.settings.local_folders)
        except Invalid as error:
            outcomes.fail(tools, work, "ACCESS_DENIED", error.detail)
            return
        uri = work.files.write_spec(spec)
        try:
            tools.launcher.launch(
                LaunchRequest(work.attempt.submission_id, uri, tools.settings.store_endpoint_url, work.job.tenant)
            )
        except NotLaunched as error:
            outcomes.fail(tools, work, error.reason, error.detail)
            return
        with tools.write(work.job) as tx:
            jobs.change_attempt(tx.because("observed"), work.attempt, AttemptState.LAUNCHED)

    def _observe(self, work: AttemptContext) -> None:
        tools = self._tools
        result, damage = _result(work.files)
        if result is None and damage is None:
            status = tools.launcher.status(work.attempt.submission_id)
            work = self._note(work, work.files.progress(), status)
            if self._due(work.attempt):
                tools.logs.keep(work.attempt, work.files)
                work = self._say_why_it_waits(work, status)
            if late := missed(work.attempt, now=tools.now(), settings=tools.settings):
                reason, detail = late
                if status is LaunchState.PENDING and (cause := tools.launcher.cause(work.attempt.submission_id)):
                    detail = f"{detail}: {cause.detail}"
                outcomes.fail(tools, work, reason, detail, decided=False)
                return
            if status is LaunchState.SUSPENDED and work.attempt.state is AttemptState.RUNNING:
                outcomes.fail(tools, work, "PREEMPTED", "the cluster's queue took its place away", decided=False)
                return
            if status in ALIVE or self._too_early(work.attempt, status):
                return
            # It may have written its result and ended between the two questions.
            result, damage = _result(work.files)
            if result is None and damage is None:
                cause = tools.launcher.cause(work.attempt.submission_id) or Cause("NODE_LOST", _gone(status))
                outcomes.fail(tools, work, cause.reason, cause.detail, decided=False)
                return
        self._looked.pop(work.attempt.submission_id, None)
        if result is None:
            outcomes.fail(tools, work, "CONTROLLER_ERROR", damage or "")
        elif result.state == "SUCCEEDED":
            outcomes.succeed(tools, work, result)
        else:
            tools.logs.keep_end(work.attempt, work.files)
            reason = result.reason or "CONTROLLER_ERROR"
            if reason == "USER_CANCELLED":  # nobody cancelled it here: whoever ran it took it down
                reason = "PREEMPTED"
            outcomes.fail(tools, work, reason, result.detail, result=result)

    def _note(self, work: AttemptContext, progress: Progress | None, status: LaunchState) -> AttemptContext:
        """Record that it runs and how far it is, if either is news."""
        started = work.attempt.state is AttemptState.LAUNCHED and (
            status is LaunchState.RUNNING or progress is not None
        )
        news = progress is not None and progress.heartbeat_time != work.job.heartbeat_time
        if not (started or news):
            return work
        with self._tools.write(work.job) as tx:
            if started:
                work = self._tools.running(tx, work)
            if progress is not None and news:
                phase = work.job.phase
                attempt = tx.state.attempts.save(replace(work.attempt, heartbeat_seen_time=tx.now))
                job = tx.state.jobs.save(replace(_with_progress(work.job, progress), updated_time=tx.now))
                if job.phase != phase:
                    jobs.record(tx.because("progress"), job)
                work = replace(work, job=job, attempt=attempt)
        return work

    def _say_why_it_waits(self, work: AttemptContext, status: LaunchState) -> AttemptContext:
        """Put what keeps an attempt from starting into its job, as long as it does."""
        if work.job.state is not JobState.PROVISIONING or status not in (LaunchState.PENDING, LaunchState.SUSPENDED):
            return work
        try:
            cause = self._tools.launcher.cause(work.attempt.submission_id)
        except PlatformError as error:  # nobody's turn hangs on it
            _log.info("no cause given", submission_id=work.attempt.submission_id, detail=error.detail)
            return work
        reason, detail = (cause.reason, cause.detail) if cause else (None, "")
        if (reason, detail) == (work.job.reason, work.job.detail):
            return work
        with self._tools.write(work.job) as tx:
            job = tx.state.jobs.save(replace(work.job, reason=reason, detail=detail, updated_time=tx.now))
            if reason != work.job.reason:
                jobs.record(tx.because("observed"), job)
        return replace(work, job=job)

    def _due(self, attempt: Attempt) -> bool:
        name, now = attempt.submission_id, self._tools.now()
        last = self._looked.get(name)
        if last is not None and (now - last).total_seconds() < _LOOK_EVERY_S:
            return False
        self._looked[name] = now
        return True

    def _too_early(self, attempt: Attempt, status: LaunchState) -> bool:
        if status is not LaunchState.UNKNOWN or attempt.launched_time is None:
            return False
        return (self._tools.now() - attempt.launched_time).total_seconds() < _UNKNOWN_GRACE_S

    def _work(self, job: Job, attempt: Attempt, domain: Domain) -> AttemptContext:
        return AttemptContext(job, attempt, domain, AttemptFiles(self._tools.store, domain, job, attempt.number))


def _champion(state: State, work: AttemptContext) -> AdapterVersion | None:
    """What the domain serves, if an adaptation of the job's base model can start from it."""
    alias = state.aliases.find(work.job.tenant, work.domain.id, CHAMPION)
    if alias is None or alias.version == SOURCE_VERSION:
        return None
    version = state.versions.get(work.job.tenant, work.domain.id, alias.version)
    # Other references are no hindrance: what was learned from those is a start.
    made_for, wanted = ((one.base_digest, one.tone, one.tone_aim) for one in (version, work.job))
    return version if made_for == wanted else None


def _result(files: AttemptFiles) -> tuple[AdaptResult | None, str | None]:
    try:
        return files.result(), None
    except DamagedFile as error:
        return None, str(error)


def _gone(status: LaunchState) -> str:
    if status is LaunchState.UNKNOWN:
        return "the launcher does not know the job any more; its cluster has probably gone"
    return f"the job ended ({status}) without a result; `udair job logs` may say why"


def _with_progress(job: Job, progress: Progress) -> Job:
    return replace(
        job,
        phase=progress.phase,
        progress_percent=progress.progress_percent,
        eta_s=progress.eta_s,
        metrics=gate.finite(progress.metrics),
        phases=[record.model_dump() for record in progress.phases],
        message=progress.message[:500],
        heartbeat_time=progress.heartbeat_time,
    )
