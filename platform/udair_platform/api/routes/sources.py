"""A domain's images: whether they can be read, uploads, and what traffic says of them."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader, DomainWriter
from udair_platform.api.schemas import UploadsCreate
from udair_platform.api.views.sources import AccessView, DriftView, UploadsView, UploadView, UsageView
from udair_platform.services import observed, sources

router = APIRouter(prefix="/v1/domains", tags=["domains"])


@router.post("/{domain}:checkAccess")
def check_access(domain: str, context: Ctx, who: DomainWriter) -> AccessView:
    """Try what a job will do first: take the role, list the images, read one."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    return AccessView.of(sources.check(found, context.settings))


@router.post("/{domain}/uploads")
def create_uploads(domain: str, body: UploadsCreate, context: Ctx, who: DomainWriter) -> UploadsView:
    """Forms that upload images straight into the platform's bucket, for a domain without a bucket of its own."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    forms = sources.uploads(context.store, found, body.names)
    return UploadsView(uploads=[UploadView(**vars(form)) for form in forms])


@router.get("/{domain}/usage")
def get_usage(domain: str, context: Ctx, who: DomainReader) -> UsageView:
    """Images, pixels and model seconds since the replicas began."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    return UsageView.of(observed.of_domain(context.store, found, context.clock()))


@router.get("/{domain}/drift")
def get_drift(domain: str, context: Ctx, who: DomainReader) -> DriftView:
    """How the images of the newest window differ from those that the adapter was made of."""
    with context.database.read() as state:
        found = who.domain(state, domain)
    return DriftView.of(observed.of_domain(context.store, found, context.clock()))
