"""Jobs of a domain. For reading and cancelling, the domain may be '-': any that the key reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from udair_platform.api import streams as responses
from udair_platform.api.context import Ctx
from udair_platform.api.feed import Filter
from udair_platform.api.middleware.idempotency import IdempotentRoute, derived
from udair_platform.api.paging import Paged
from udair_platform.api.principal import DomainReader, JobRunner, Principal, meant
from udair_platform.api.schemas import JobCreate
from udair_platform.api.streams import STREAM
from udair_platform.contract.events import Event
from udair_platform.contract.jobs import Attempt, Job, JobCurves
from udair_platform.contract.pages import EventPage, JobPage
from udair_platform.documents.job_log import JobLog
from udair_platform.entities import job as entity
from udair_platform.entities.domain import Domain
from udair_platform.errors import NotFound
from udair_platform.services import jobs
from udair_platform.state.repositories import State

router = APIRouter(prefix="/v1/domains/{domain}/jobs", tags=["jobs"], route_class=IdempotentRoute)
ANY = "-"


@router.post("", status_code=202)
def create_job(domain: str, body: JobCreate, request: Request, response: Response, context: Ctx, who: JobRunner) -> Job:
    """Adapt the model to the domain: queued at once, done when `state` is final."""
    job_id = derived(request, "j", who)
    with context.change(who) as tx:
        found = who.domain(tx.state, domain)
        job = jobs.submit(tx, found, recipe=body.recipe, snapshot=body.snapshot, priority=body.priority, job_id=job_id)
    response.headers["Location"] = f"/v1/domains/{found.name}/jobs/{job.id}"
    return Job.describe(job, domain=found.name)


@router.get("")
def list_jobs(domain: str, page: Paged, context: Ctx, who: DomainReader) -> JobPage:
    """Jobs, newest first."""
    with context.database.read() as state:
        one = None if domain == ANY else who.domain(state, domain)
        found = state.jobs.page(who.tenant, domain_id=one.id if one else None, after=page.after, size=page.size + 1)
        shown, token = page.cut(found, lambda job: job.seq)
        names = {id: state.domains.by_id(who.tenant, id).name for id in {job.domain_id for job in shown}}
        views = described(state, [job for job in shown if who.claims.reaches(names[job.domain_id])], names)
    return JobPage(jobs=views, next_page_token=token)


@router.get("/{job}")
def get_job(domain: str, job: str, context: Ctx, who: DomainReader) -> Job:
    """One job, with its attempts."""
    with context.database.read() as state:
        found, owner = _job(state, who, domain, job)
        tries = [Attempt.describe(attempt) for attempt in state.attempts.of_job(who.tenant, found.id)]
        return described(state, [found], {owner.id: owner.name}, attempts=tries)[0]


@router.post("/{job}:retry", status_code=202)
def retry_job(domain: str, job: str, request: Request, response: Response, context: Ctx, who: JobRunner) -> Job:
    """Run a job that has ended once more, as a new job: same recipe, and the same images if it had listed them."""
    with context.change(who) as tx:
        found, owner = _job(tx.state, who, domain, job)
        again = jobs.retry(tx, owner, found, job_id=derived(request, "j", who))
    response.headers["Location"] = f"/v1/domains/{owner.name}/jobs/{again.id}"
    return Job.describe(again, domain=owner.name)


@router.post("/{job}:cancel")
def cancel_job(domain: str, job: str, context: Ctx, who: JobRunner) -> Job:
    """Ask a job to end; it is CANCELLED once nothing of it runs any more."""
    with context.change(who) as tx:
        found, owner = _job(tx.state, who, domain, job)
        cancelled = jobs.cancel(tx, found)
    return Job.describe(cancelled, domain=owner.name)


@router.get("/{job}/logs", response_class=PlainTextResponse, responses=STREAM)
def get_logs(
    domain: str,
    job: str,
    request: Request,
    context: Ctx,
    who: DomainReader,
    attempt: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the last one unless given")] = None,
) -> Response:
    """What an attempt printed; empty until it has printed something.

    With `Accept: text/event-stream` line by line until the job has ended; ids are attempt and position in its
    log. Of a long log the end is kept; a line says what is missing.
    """

    def find(of: int | None) -> tuple[entity.Job, int, JobLog]:
        with context.database.read() as state:
            found, owner = _job(state, who, domain, job)
            if attempt is not None:
                state.attempts.get(who.tenant, found.id, attempt)
        number = of or attempt or found.attempt
        return found, number, jobs.log_of(context.store, owner, found, number)

    if responses.wanted(request):
        find(None)  # refusals are replies, not streams
        return responses.log(request, find, responses.last_place(request))
    return PlainTextResponse(find(None)[2].stored())


@router.get("/{job}/curves")
def get_curves(domain: str, job: str, context: Ctx, who: DomainReader) -> JobCurves:
    """How the training went, step by step: of the newest attempt that trained."""
    with context.database.read() as state:
        found, owner = _job(state, who, domain, job)
    return jobs.curves_of(context.store, owner, found)


@router.get("/{job}/events", response_model=EventPage, responses=STREAM)
def list_job_events(
    domain: str, job: str, page: Paged, request: Request, context: Ctx, who: DomainReader
) -> Response | EventPage:
    """What happened to the job, oldest first.

    With `Accept: text/event-stream` all of it, or what is after `Last-Event-ID`, until the job has ended.
    """
    with context.database.read() as state:
        found, _ = _job(state, who, domain, job)
        if responses.wanted(request):
            which = Filter(who.tenant, noun="job", name=found.id)
            last = state.events.last(who.tenant, "job", found.id) if found.done else None
            after = responses.last_id(request) or 0
            return responses.events(request, which, after, of_job=True, last=last)
        events = state.events.page(who.tenant, noun="job", name=found.id, after=page.after, size=page.size + 1)
    shown, token = page.cut(events, lambda event: event.seq)
    return EventPage(events=[Event.describe(event, id=event.seq) for event in shown], next_page_token=token)


def described(
    state: State, found: Sequence[entity.Job], names: Mapping[str, str], attempts: list[Attempt] | None = None
) -> list[Job]:
    """Jobs with the verdicts on what came of them.

    Args:
        names: Of their domains, by id.
    """
    made = {(job.domain_id, job.version) for job in found if job.version is not None}
    verdicts = state.versions.verdicts_of(found[0].tenant, made) if made else {}
    return [
        Job.describe(
            job,
            domain=names[job.domain_id],
            attempts=attempts,
            verdict=verdicts.get((job.domain_id, job.version)) if job.version is not None else None,
        )
        for job in found
    ]


def _job(state: State, who: Principal, domain: str, id: str) -> tuple[entity.Job, Domain]:
    if domain != ANY:
        owner = who.domain(state, domain)
        return state.jobs.get(who.tenant, id, domain_id=owner.id), owner
    with suppress(NotFound):
        job = state.jobs.get(who.tenant, id)
        owner = state.domains.by_id(who.tenant, job.domain_id)
        if who.claims.reaches(owner.name):
            return job, owner
    # A key that is limited to domains hears of no others' jobs.
    known = [job.id for job in state.jobs.page(who.tenant, size=200)] if who.claims.domains is None else []
    raise NotFound(f"There is no job {id[:63]!r}.{meant(id, known)} `udair job list` shows those that you may see.")
