"""How an attempt ends: as a version, as a failure with what follows from it, or cancelled."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from udair_jobs.specs import AdaptResult, Reason
from udair_platform.entities.job import AttemptState, JobState
from udair_platform.errors import CandidateInvalid, LauncherDown
from udair_platform.scheduler import policy
from udair_platform.scheduler.context import AttemptContext, ReconcilerContext
from udair_platform.scheduler.launcher import ALIVE, LaunchState
from udair_platform.scheduler.state_timeouts import missed
from udair_platform.services import domains, gate, jobs, versions
from udair_platform.telemetry import logger

_log = logger("reconciler.outcomes")


def succeed(tools: ReconcilerContext, work: AttemptContext, result: AdaptResult) -> None:
    """Register the candidate. Version, verdict, attempt, job and snapshot are one transaction."""
    try:
        candidate = versions.verify(work.files.candidate, base_digest=work.job.base_digest)
        if result.manifest is not None and result.manifest.digest != candidate.manifest.digest:
            raise CandidateInvalid("The result and the candidate's manifest name different adapters.")
    except CandidateInvalid as error:
        fail(tools, work, "CONTROLLER_ERROR", error.detail)
        return
    tools.logs.keep_end(work.attempt, work.files)
    summary = tools.summary(work, result)
    with tools.write(work.job) as tx:
        work = tools.running(tx, work)
        domain = tx.state.domains.by_id(work.job.tenant, work.job.domain_id)  # its gate rules of this moment
        if domain.tone == work.job.tone:
            domain = domains.judge_base(tx, domain, result.base_loses)
        version = versions.record(tx, domain, work.job, candidate)
        jobs.change_attempt(tx.because("observed"), work.attempt, AttemptState.SUCCEEDED)
        done = replace(
            work.job,
            version=version.number,
            words=candidate.words,
            metrics=gate.finite(result.metrics) or work.job.metrics,
            phases=[record.model_dump() for record in result.phases] or work.job.phases,
        )
        tools.finish(tx, done, JobState.SUCCEEDED, detail=f"gate {version.verdict}", summary=summary)
    _log.info("job succeeded", job=done.id, version=version.number, verdict=version.verdict)


def fail(
    tools: ReconcilerContext,
    work: AttemptContext,
    reason: str,
    detail: str,
    *,
    decided: bool = True,
    result: AdaptResult | None = None,
) -> None:
    """Settle a failed attempt: what follows is policy.

    Args:
        decided: The attempt has its result, or never started. Otherwise it may still live, so it is
            closed first, and nothing is settled if it decided otherwise in that moment.
    """
    if not decided:
        if not work.files.close(cast(Reason, reason), f"given up: {detail}"):
            return
        tools.stop(work.attempt)
        tools.logs.keep_end(work.attempt, work.files)
    summary = tools.summary(work, result)
    job = work.job
    with tools.write(job) as tx:
        attempts = tx.state.attempts.of_job(job.tenant, job.id)
        jobs.change_attempt(tx.because("observed"), work.attempt, AttemptState.FAILED, reason=reason, detail=detail)
        decision = policy.after_failure(
            reason,
            attempts,
            now=tools.now(),
            max_attempts=tools.settings.max_attempts,
            pending_timeout_s=tools.settings.pending_timeout_s,
        )
        if decision.state is JobState.RECOVERING:
            waiting = replace(job, not_before=decision.not_before)
            jobs.change(tx, waiting, JobState.RECOVERING, reason=reason, detail=detail)
            if summary is not None:  # what it found stays true, whoever goes on from it
                jobs.settle_snapshot(tx, job, summary)
        else:
            tools.finish(tx, job, decision.state, reason=reason, detail=detail, summary=summary)
    _log.info("attempt failed", job=job.id, attempt=job.attempt, reason=reason, then=decision.state)


def cancel(tools: ReconcilerContext, work: AttemptContext) -> None:
    """Bar the attempt from succeeding, stop it, and call the job CANCELLED once nothing runs."""
    work.files.close("USER_CANCELLED", "cancelled before it had a result")
    detail = ""
    try:
        tools.launcher.stop(work.attempt.submission_id)
        status = tools.launcher.status(work.attempt.submission_id)
    except LauncherDown as error:
        status, detail = LaunchState.RUNNING, error.detail
    if status in ALIVE and not missed(work.job, now=tools.now(), settings=tools.settings):
        return
    if status in ALIVE:
        # A job that Ray holds PENDING cannot be stopped; if it starts, it finds its result and ends.
        detail = f"not confirmed within {tools.settings.cancel_timeout_s:g} s. {detail}".strip()
    tools.logs.keep_end(work.attempt, work.files)
    summary = tools.summary(work, None)
    reason = "USER_CANCELLED"
    with tools.write(work.job) as tx:
        jobs.change_attempt(tx.because("observed"), work.attempt, AttemptState.STOPPED, reason=reason, detail=detail)
        tools.finish(tx, work.job, JobState.CANCELLED, reason=reason, detail=detail, summary=summary)
