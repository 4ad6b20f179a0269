"""Jobs: all of them with their progress, and one of them with its events and its log as they come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from udair_platform.api import streams as responses
from udair_platform.api.context import Context, Ctx
from udair_platform.api.feed import Filter
from udair_platform.api.routes.jobs import described
from udair_platform.console import plots
from udair_platform.console.domains import ROWS, names_of
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader, Session, current
from udair_platform.contract import jobs as values
from udair_platform.contract.events import Event
from udair_platform.documents.job_log import JobLog
from udair_platform.entities.domain import Domain
from udair_platform.entities.job import Job
from udair_platform.errors import StoreDown
from udair_platform.services import jobs

router = APIRouter()
_LOG_CHARS = 200_000


@router.get("/jobs")
def list_jobs(
    request: Request, context: Ctx, visitor: Reader, after: Annotated[int | None, Query(ge=0, le=2**62)] = None
) -> HTMLResponse:
    """Jobs of every domain that the key reaches, newest first."""
    who = visitor.principal
    with context.database.read() as state:
        found = state.jobs.page(who.tenant, after=after, size=ROWS + 1)
        names = names_of(state, who.tenant, (job.domain_id for job in found))
        shown = [job for job in found[:ROWS] if who.claims.reaches(names[job.domain_id])]
        views = described(state, shown, names)
    more = found[ROWS - 1].seq if len(found) > ROWS else None
    return page(
        request,
        "jobs.html",
        visitor,
        jobs=views,
        more=more,
        after=after,
        running=any(not job.done for job in shown),
    )


@router.get("/domains/{name}/jobs/{id}")
def show_job(request: Request, name: str, id: str, context: Ctx, visitor: Reader) -> HTMLResponse:
    """One job, as it goes on."""
    who = visitor.principal
    domain, job = _job(context, visitor, name, id)
    with context.database.read() as state:
        attempts = state.attempts.of_job(who.tenant, job.id)
        events = state.events.page(who.tenant, noun="job", name=job.id, size=200)
        tries = [values.Attempt.describe(attempt) for attempt in attempts]
        (view,) = described(state, [job], {domain.id: domain.name}, attempts=tries)
    happened = [Event.describe(event, id=event.seq) for event in events]
    try:
        curves, trouble = jobs.curves_of(context.store, domain, job), ""
    except StoreDown as error:
        curves, trouble = values.JobCurves(attempt=0, curves=[]), error.detail
    drawn = plots.trained(curves)
    return page(request, "job.html", visitor, job=view, events=happened, curves=curves, plots=drawn, trouble=trouble)


@router.get("/domains/{name}/jobs/{id}/stream")
def stream(request: Request, name: str, id: str, context: Ctx, visitor: Reader) -> Response:
    """The job's events as they happen, until it has ended."""
    who = visitor.principal
    _, job = _job(context, visitor, name, id)
    with context.database.read() as state:
        last = state.events.last(who.tenant, "job", job.id) if job.done else None
    return responses.events(
        request,
        Filter(who.tenant, noun="job", name=job.id),
        responses.last_id(request) or 0,
        of_job=True,
        last=last,
        check=lambda: current(request),
    )


@router.get("/domains/{name}/jobs/{id}/log")
def log(request: Request, name: str, id: str, context: Ctx, visitor: Reader) -> Response:
    """What the job's newest attempt has printed; as a stream, line by line until the job has ended."""

    def find(of: int | None) -> tuple[Job, int, JobLog]:
        domain, job = _job(context, visitor, name, id)
        return job, of or job.attempt, jobs.log_of(context.store, domain, job, of or job.attempt)

    job, _, printed = find(None)
    if responses.wanted(request) and not job.done:
        return responses.log(request, find, responses.last_place(request), check=lambda: current(request))
    return Response(printed.stored().decode(errors="replace")[-_LOG_CHARS:], media_type="text/plain; charset=utf-8")


def _job(context: Context, visitor: Session, name: str, id: str) -> tuple[Domain, Job]:
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        return domain, state.jobs.get(who.tenant, id, domain_id=domain.id)
