"""The first page: what needs attention now, what is under way, and what happened last."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.api.routes.attention import concerns
from udair_platform.api.routes.jobs import described
from udair_platform.console.domains import count, names_of
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader

router = APIRouter()
_LOOKED_AT = 100
_SHOWN = 40


@router.get("/")
def overview(request: Request, context: Ctx, visitor: Reader) -> HTMLResponse:
    """What needs attention now, and what happened last."""
    who = visitor.principal
    with context.database.read() as state:
        recent = state.jobs.page(who.tenant, size=_LOOKED_AT)
        names = names_of(state, who.tenant, (job.domain_id for job in recent))
        jobs = described(state, [job for job in recent if who.claims.reaches(names[job.domain_id])], names)
        domains = count(state, who)
    found = concerns(context, who)
    return page(
        request,
        "overview.html",
        visitor,
        concerns=found[:_SHOWN],
        many=len(found),
        recent=jobs[:12],
        running=[job for job in jobs if not job.done],
        domains=domains,
    )
