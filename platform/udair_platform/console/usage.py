"""What each domain has used, and what that costs where the operator has set prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from udair_platform.api.context import Ctx
from udair_platform.api.routes.usage import described
from udair_platform.console import wording
from udair_platform.console.domains import ROWS
from udair_platform.console.rendering import page
from udair_platform.console.session import Admin, Reader, check_form
from udair_platform.contract.budgets import Budget
from udair_platform.errors import FieldError, Invalid
from udair_platform.services import budgets, usage

router = APIRouter()
_EVERY = 100_000
Figure = Annotated[str, Form(max_length=24)]


@router.get("/usage")
def show_usage(
    request: Request, context: Ctx, visitor: Reader, start: Annotated[int, Query(ge=0, le=_EVERY)] = 0
) -> HTMLResponse:
    """Domains that have used anything, those that used most first."""
    who, prices = visitor.principal, context.prices
    found = usage.of_tenant(context.database, context.store, who.tenant, context.clock(), only=who.claims.domains)
    uses, budget = found.uses, None
    if who.claims.domains is None:
        with context.database.read() as state:
            budget = budgets.Ledger(state, context.clock(), prices).status(who.tenant)

    def price(job_s: float, model_s: float) -> str:
        return wording.price(prices.cost(job_s, model_s), prices.currency) if prices.set else ""

    def said(item: str, figure: float) -> str:
        if item == "money":
            return wording.price(figure, prices.currency)
        return wording.duration(figure) if item == "job_s" else wording.number(int(figure))

    return page(
        request,
        "usage.html",
        visitor,
        said=said,
        uses=[described(use) for use in uses[start : start + ROWS]],
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
        priced=prices.set,
        budget=budget,
        may_set=who.claims.allows("admin") and budget is not None,
    )


@router.post("/budget")
def set_budget(
    request: Request,
    context: Ctx,
    visitor: Admin,
    form_token: Annotated[str, Form(max_length=100)],
    images: Figure = "",
    job_hours: Figure = "",
    money: Figure = "",
    warn_percent: Figure = "80",
) -> RedirectResponse:
    """Set the tenant's budget; a field that is left empty is no limit."""
    check_form(request, visitor, form_token)
    hours, percent = _figure("job_hours", job_hours), _figure("warn_percent", warn_percent)
    try:
        wanted = Budget(
            images=_figure("images", images),
            job_s=None if hours is None else hours * 3600,
            money=_figure("money", money),
            warn_share=0.8 if percent is None else percent / 100,
        )
    except ValidationError as error:
        said = "; ".join(f"{item['loc'][0]} is {item['input']!r}: {item['msg']}" for item in error.errors())
        raise Invalid(f"The budget was not set. {said}. A field that is left empty is no limit.") from None
    with context.change(visitor.principal) as tx:
        budgets.change(tx, visitor.principal.tenant, wanted)
    return RedirectResponse("/console/usage", 303)


def _figure(field: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        return float(value)
    except ValueError:
        detail = f"{field} is {value!r}; expected a number, e.g. 1000, or nothing."
        raise Invalid(detail, errors=[FieldError(f"/{field}", detail)]) from None
