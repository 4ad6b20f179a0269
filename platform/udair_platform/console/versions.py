"""One version: the pictures before and after, what the gate measured, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.api.routes.versions import described
from udair_platform.console import pictures
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.contract.jobs import Job
from udair_platform.contract.snapshots import Snapshot
from udair_platform.entities.alias import CHAMPION

router = APIRouter()
_SHOWN = 24  # thumbnails on a page


@router.get("/domains/{name}/versions/{number}")
def show_version(
    request: Request,
    name: str,
    number: int,
    context: Ctx,
    visitor: Reader,
    image: Annotated[int, Query(ge=0, le=10_000, description="which picture, 0 is the worst")] = 0,
) -> HTMLResponse:
    """One version, with one of its pictures large and those around it small."""
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        version = state.versions.get(who.tenant, domain.id, number)
        job = state.jobs.get(who.tenant, version.job_id)
        snapshot = state.snapshots.get(who.tenant, version.snapshot_id)
        aliases = state.aliases.all(who.tenant, domain.id)
        view = described(state, domain, [version], aliases)[0]
        champion = state.aliases.get(who.tenant, domain.id, CHAMPION).version
    gate: Mapping[str, Any] = version.gate or {}
    images = pictures.index(context, version)
    chosen = min(image, max(0, len(images) - 1))
    first = chosen - chosen % _SHOWN
    return page(
        request,
        "version.html",
        visitor,
        version=view,
        job=Job.describe(job, domain=domain.name),
        snapshot=Snapshot.describe(snapshot),
        champion=champion,
        checks=gate.get("checks", []),
        images=images[first : first + _SHOWN],
        first=first,
        chosen=chosen,
        total=len(images),
        step=_SHOWN,
        base=f"/console/domains/{domain.name}/versions/{version.number}",
    )
