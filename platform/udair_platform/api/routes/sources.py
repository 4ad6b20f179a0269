"""A domain's images: whether they can be read, uploads, and what traffic says of them."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader, DomainWriter
from udair_platform.api.schemas import UploadsCreate
from udair_platform.contract.usage import Access, AccessStep, Drift, Upload, Uploads, Usage
from udair_platform.services import sources
from udair_platform.services.observed import ReplicaReports

router = APIRouter(prefix="/v1/domains", tags=["domains"])


@router.post("/{domain}:checkAccess")
def check_access(domain: str, context: Ctx, who: DomainWriter) -> Access:
    """Try what a job will do first: take the role, list the images, read one."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    steps = [AccessStep.describe(step) for step in sources.check(found, context.settings)]
    return Access(ok=all(step.ok for step in steps), steps=steps)


@router.post("/{domain}/uploads")
def create_uploads(domain: str, body: UploadsCreate, context: Ctx, who: DomainWriter) -> Uploads:
    """Forms that upload images straight into the platform's bucket, for a domain without a bucket of its own."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    forms = sources.uploads(context.store, found, body.names)
    return Uploads(uploads=[Upload.describe(form) for form in forms])


@router.get("/{domain}/usage")
def get_usage(domain: str, context: Ctx, who: DomainReader) -> Usage:
    """Images, pixels and model seconds since the replicas began."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    seen = ReplicaReports(context.store, context.clock()).of_domain(found)
    since = None if seen.since is None else datetime.fromtimestamp(seen.since, UTC)
    return Usage.describe(seen, forward_s=round(seen.forward_s, 4), replicas=len(seen.replicas), since=since)


@router.get("/{domain}/drift")
def get_drift(domain: str, context: Ctx, who: DomainReader) -> Drift:
    """How the images of the newest window differ from those that the adapter was made of."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    windows = ReplicaReports(context.store, context.clock()).of_domain(found).drift
    return Drift(windows=windows, confirmed=any(window.get("confirmed") for window in windows))
