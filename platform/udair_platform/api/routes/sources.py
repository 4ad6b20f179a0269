"""A domain's images: whether they can be read, uploads, and what traffic says of them."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader, DomainWriter
from udair_platform.api.schemas import UploadsCreate
from udair_platform.contract.usage import Access, AccessStep, DomainMetrics, Drift, Period, Upload, Uploads, Usage
from udair_platform.errors import BadRequest
from udair_platform.http.problems import too_large
from udair_platform.services import served, sources, uploads
from udair_platform.services.observed import ReplicaReports

router = APIRouter(prefix="/v1/domains", tags=["domains"])
received = APIRouter(tags=["domains"])


@router.post("/{domain}:checkAccess")
def check_access(domain: str, context: Ctx, who: DomainWriter) -> Access:
    """Try what a job will do first: take the role, list the images, read one."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    seen = sources.check(found, context.settings)
    with context.change(who) as tx:
        sources.record(tx, found, seen)
    steps = [AccessStep.describe(step) for step in seen]
    return Access(ok=all(step.ok for step in steps), steps=steps)


@router.post("/{domain}/uploads")
def create_uploads(domain: str, body: UploadsCreate, request: Request, context: Ctx, who: DomainWriter) -> Uploads:
    """Forms that upload images into the platform's own store, for a domain without a bucket of its own."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    forms = uploads.upload_forms(
        context.store,
        found,
        body.names,
        tickets=context.tickets,
        at=lambda ticket: str(request.url_for("receive_upload", ticket=ticket)),
    )
    return Uploads(uploads=[Upload.describe(form) for form in forms])


# Not in the schema: a form's URL is opaque, and most lead to an object store.
@received.post("/v1/uploads/{ticket}", status_code=204, include_in_schema=False)
async def receive_upload(ticket: str, request: Request, context: Ctx) -> Response:
    """Take one image whose form led here, because the platform's store is a folder. The ticket is the right to."""
    # Before a byte of the body is read: whoever has no ticket sends nothing anywhere.
    key = uploads.key_of(ticket, context.tickets)
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BadRequest("The form holds no file; expected multipart/form-data with the image as `file`.")
        data = await file.read()
    if len(data) > uploads.MAX_UPLOAD_BYTES:
        raise too_large(uploads.MAX_UPLOAD_BYTES)
    await run_in_threadpool(uploads.receive, context.store, key, data)
    return Response(status_code=204)


@router.get("/{domain}/usage")
def get_usage(domain: str, context: Ctx, who: DomainReader) -> Usage:
    """Images, pixels and model seconds since the replicas began."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    seen = ReplicaReports(context.store, context.clock()).of_domain(found)
    since = None if seen.since is None else datetime.fromtimestamp(seen.since, UTC)
    return Usage.describe(seen, forward_s=round(seen.forward_s, 4), replicas=len(seen.replicas), since=since)


@router.get("/{domain}/metrics")
def get_metrics(domain: str, context: Ctx, who: DomainReader, period: Period = "day") -> DomainMetrics:
    """What was restored over the last hour, day, week or four weeks, and how long it took, step by step."""
    with context.database.read() as state:
        return served.of_domain(state, who.domain(state, domain), period, context.clock())


@router.get("/{domain}/drift")
def get_drift(domain: str, context: Ctx, who: DomainReader) -> Drift:
    """How the images of the newest window differ from those that the adapter was made of."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    windows = ReplicaReports(context.store, context.clock()).of_domain(found).drift
    return Drift(windows=windows, confirmed=any(window.get("confirmed") for window in windows))
