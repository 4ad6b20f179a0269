"""What each domain has used, and what that costs where the operator has set prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.console import wording
from udair_platform.console.domains import ROWS
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.registry import observed
from udair_platform.registry.observed import Observed

router = APIRouter()
_DAYS = 30
_EVERY = 100_000


@dataclass(frozen=True)
class Use:
    """One domain.

    Attributes:
        jobs, job_s: Jobs that ended in the last 30 days, and how long they ran.
        seen: Restored images, since the replicas began.
    """

    name: str
    jobs: int
    job_s: float
    seen: Observed


@router.get("/usage")
def show_usage(
    request: Request, context: Ctx, visitor: Reader, start: Annotated[int, Query(ge=0, le=_EVERY)] = 0
) -> HTMLResponse:
    """Domains that have used anything, those that used most first."""
    who, settings = visitor.principal, context.settings
    with context.database.read() as state:
        ran = state.jobs.seconds(who.tenant, context.clock() - timedelta(days=_DAYS))
        names = {d.id: d.name for d in state.domains.page(who.tenant, size=_EVERY, names=who.claims.domains)}
    seen = observed.of_tenant(context.store, who.tenant, context.clock())
    uses = [
        Use(name, *ran.get(id, (0, 0.0)), seen.get(name, Observed()))
        for id, name in names.items() if id in ran or name in seen
    ]  # fmt: skip
    uses.sort(key=lambda use: (-use.job_s - use.seen.forward_s, use.name))
    gone = [spent for id, spent in ran.items() if id not in names] if who.claims.domains is None else []

    def price(job_s: float, model_s: float) -> str:
        rates = (settings.price_per_job_hour, settings.price_per_model_hour)
        total = (job_s * rates[0] + model_s * rates[1]) / 3600
        return wording.price(total, 1.0, settings.price_currency) if any(rates) else ""

    return page(
        request, "usage.html", visitor,
        uses=uses[start : start + ROWS], count=len(uses), start=start, step=ROWS, days=_DAYS, price=price,
        jobs=sum(use.jobs for use in uses), job_s=sum(use.job_s for use in uses),
        images=sum(use.seen.images for use in uses), pixels=sum(use.seen.pixels for use in uses),
        model_s=sum(use.seen.forward_s for use in uses), gone_jobs=sum(jobs for jobs, _ in gone),
        gone_s=sum(seconds for _, seconds in gone), priced=bool(settings.price_per_job_hour or settings.price_per_model_hour),
    )  # fmt: skip
