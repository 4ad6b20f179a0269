"""What the console's buttons do: the same verbs as the API's, with the same checks.

The way back from a promotion or a rollback is a form on the page that follows.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from udair_platform.api.context import Ctx
from udair_platform.console.session import Visitor, allowed
from udair_platform.services import approval, jobs, promotion

router = APIRouter(prefix="/domains/{name}")
Token = Annotated[str, Form(max_length=100)]
Reason = Annotated[str, Form(max_length=500)]


@router.post("/promote")
def promote(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    version: Annotated[int, Form(ge=0, le=2**31 - 1)],
    if_current: Annotated[int, Form(ge=0, le=2**31 - 1)],
    reason: Reason = "",
) -> Response:
    """Let a version serve, if what the page showed still does."""
    who = allowed(request, visitor, form_token, "version:approve")
    with context.change(who) as tx:
        domain = who.domain(tx.state, name)
        promotion.promote(tx, domain, version, reason=reason or "promoted in the console", if_current=if_current)
    return RedirectResponse(f"/console/domains/{name}", 303)


@router.post("/rollback")
def roll_back(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    if_current: Annotated[int, Form(ge=0, le=2**31 - 1)],
    reason: Reason = "",
) -> Response:
    """Let what served before serve again."""
    who = allowed(request, visitor, form_token, "version:approve")
    with context.change(who) as tx:
        domain = who.domain(tx.state, name)
        promotion.rollback(tx, domain, reason=reason or "rolled back in the console", if_current=if_current)
    return RedirectResponse(f"/console/domains/{name}", 303)


@router.post("/versions/{number}/{decision}")
def decide(
    request: Request,
    name: str,
    number: int,
    decision: Literal["approve", "reject"],
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    reason: Reason = "",
) -> Response:
    """Decide about a version that the gate could not judge."""
    who = allowed(request, visitor, form_token, "version:approve")
    with context.change(who) as tx:
        act = approval.approve if decision == "approve" else approval.reject
        act(tx, who.domain(tx.state, name), number, reason=reason)
    return RedirectResponse(f"/console/domains/{name}/versions/{number}", 303)


@router.post("/adapt")
def adapt(request: Request, name: str, context: Ctx, visitor: Visitor, form_token: Token) -> Response:
    """Adapt the domain to its images of now."""
    who = allowed(request, visitor, form_token, "job:run")
    with context.change(who) as tx:
        job = jobs.submit(tx, who.domain(tx.state, name), recipe={})
    return RedirectResponse(f"/console/domains/{name}/jobs/{job.id}", 303)


@router.post("/jobs/{id}/cancel")
def cancel(request: Request, name: str, id: str, context: Ctx, visitor: Visitor, form_token: Token) -> Response:
    """Ask a job to end."""
    who = allowed(request, visitor, form_token, "job:run")
    with context.change(who) as tx:
        domain = who.domain(tx.state, name)
        jobs.cancel(tx, tx.state.jobs.get(who.tenant, id, domain_id=domain.id))
    return RedirectResponse(f"/console/domains/{name}/jobs/{id}", 303)


@router.post("/jobs/{id}/retry")
def retry(request: Request, name: str, id: str, context: Ctx, visitor: Visitor, form_token: Token) -> Response:
    """Run a job that has ended once more."""
    who = allowed(request, visitor, form_token, "job:run")
    with context.change(who) as tx:
        domain = who.domain(tx.state, name)
        again = jobs.retry(tx, domain, tx.state.jobs.get(who.tenant, id, domain_id=domain.id))
    return RedirectResponse(f"/console/domains/{name}/jobs/{again.id}", 303)
