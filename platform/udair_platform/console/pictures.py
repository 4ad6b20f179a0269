"""Pictures of a version, and what goes on with a job, for the pages that show them."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import StorageError
from udair_platform.api.context import Context, Ctx
from udair_platform.api.streams import responses
from udair_platform.api.streams.feed import Filter
from udair_platform.console.session import Visitor, current
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import NotFound, StoreDown
from udair_platform.registry import jobs, versions

router = APIRouter(prefix="/domains/{name}")
_INDEX = "gallery.json"
_NAME = re.compile(r"gallery-[0-9]{3}-(camera|source|adapted|previous)\.webp")
_MAX_BYTES = 16 * 2**20
_LOG_CHARS = 200_000


def index(context: Context, version: AdapterVersion) -> list[dict[str, Any]]:
    """The version's pictures, worst first; none if its job published none, or they are gone."""
    try:
        document = json.loads(versions.folder_of(context.store, version).get(_INDEX, max_bytes=_MAX_BYTES))
        return [dict(item) for item in document["images"]]
    except (StorageError, ValueError, KeyError, TypeError):
        return []


@router.get("/versions/{number}/pictures/{file}")
def picture(name: str, number: int, file: str, context: Ctx, visitor: Visitor) -> Response:
    """One picture. A version's files never change, so that a browser may keep it."""
    who = visitor.principal
    if not _NAME.fullmatch(file):
        raise NotFound(f"There is no picture {file[:80]!r}.")
    with context.database.read() as state:
        domain = who.domain(state, name)
        version = state.versions.get(who.tenant, domain.id, number)
    try:
        data = versions.folder_of(context.store, version).get(file, max_bytes=_MAX_BYTES)
    except NoObject as error:
        raise NotFound(f"The picture {file} is gone from the store.") from error
    except StorageError as error:
        raise StoreDown(f"The picture cannot be read now: {error}") from error
    return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=86400, immutable"})


@router.get("/jobs/{id}/stream")
def stream(request: Request, name: str, id: str, context: Ctx, visitor: Visitor) -> Response:
    """The job's events as they happen, until it has ended."""
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        job = state.jobs.get(who.tenant, id, domain_id=domain.id)
        last = state.events.last(who.tenant, "job", job.id) if job.done else None
    after = responses.last_id(request) or 0
    return responses.events(
        request,
        Filter(who.tenant, noun="job", name=job.id),
        after,
        of_job=True,
        last=last,
        check=lambda: current(request),
    )


@router.get("/jobs/{id}/log")
def log(name: str, id: str, context: Ctx, visitor: Visitor) -> Response:
    """What the job's newest attempt has printed."""
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        job = state.jobs.get(who.tenant, id, domain_id=domain.id)
    text = jobs.log_of(context.store, domain, job, job.attempt)
    return Response(text[-_LOG_CHARS:], media_type="text/plain; charset=utf-8")
