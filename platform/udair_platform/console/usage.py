"""What each domain has used, and what that costs where the operator has set prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.console import wording
from udair_platform.console.domains import ROWS
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.services import usage

router = APIRouter()
_EVERY = 100_000


@router.get("/usage")
def show_usage(
    request: Request, context: Ctx, visitor: Reader, start: Annotated[int, Query(ge=0, le=_EVERY)] = 0
) -> HTMLResponse:
    """Domains that have used anything, those that used most first."""
    who, settings = visitor.principal, context.settings
    found = usage.of_tenant(context.database, context.store, who.tenant, context.clock(), only=who.claims.domains)
    uses = found.uses

    def price(job_s: float, model_s: float) -> str:
        rates = (settings.price_per_job_hour, settings.price_per_model_hour)
        total = (job_s * rates[0] + model_s * rates[1]) / 3600
        return wording.price(total, 1.0, settings.price_currency) if any(rates) else ""

    return page(
        request,
        "usage.html",
        visitor,
        uses=uses[start : start + ROWS],
        count=len(uses),
        start=start,
        step=ROWS,
        days=usage.DAYS,
        price=price,
        jobs=sum(use.jobs for use in uses),
        job_s=sum(use.job_s for use in uses),
        images=sum(use.seen.images for use in uses),
        pixels=sum(use.seen.pixels for use in uses),
        model_s=sum(use.seen.forward_s for use in uses),
        gone_jobs=found.gone_jobs,
        gone_s=found.gone_s,
        priced=bool(settings.price_per_job_hour or settings.price_per_model_hour),
    )
