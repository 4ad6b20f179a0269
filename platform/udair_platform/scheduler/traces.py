"""A job as a trace, written when it has ended: the job below the request that wanted it, attempts, phases.

Nothing of it is needed inside the job: the database knows when each attempt was launched and ended, and the
job's result says how long each phase took.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from udair_platform.entities.job import Attempt, Job
from udair_platform.http.tracing import Tracing


def tell(tracing: Tracing, job: Job, attempts: Sequence[Attempt]) -> None:
    """Write the spans of `job`, which has ended.

    Phases are those of the last attempt. They lie one after the other up to its end: what is before them is the
    time until the job's code ran.
    """
    if not tracing.enabled or job.finished_time is None:
        return
    facts = {"job": job.id, "tenant": job.tenant, "state": job.state.value, "reason": job.reason or ""}
    above = tracing.past("job", job.created_time, job.finished_time, job.trace, **facts)
    for attempt in attempts:
        ended = attempt.finished_time or job.finished_time
        facts = {"submission_id": attempt.submission_id, "state": attempt.state.value, "reason": attempt.reason or ""}
        span = tracing.past(f"attempt {attempt.number}", attempt.created_time, ended, above, **facts)
        if attempt.number != job.attempt:
            continue
        seconds = [float(phase["seconds"]) for phase in job.phases]
        at = max(ended - timedelta(seconds=sum(seconds)), attempt.created_time)
        for phase, spent in zip(job.phases, seconds, strict=True):
            until = min(at + timedelta(seconds=spent), ended)
            tracing.past(str(phase["phase"]).lower(), at, until, span)
            at = until
