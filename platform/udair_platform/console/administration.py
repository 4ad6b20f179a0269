"""For admins: who did what, as it happens, and which keys and webhooks there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.api.routes import webhooks
from udair_platform.console.domains import ROWS
from udair_platform.console.rendering import page
from udair_platform.console.session import Admin
from udair_platform.contract.events import Event
from udair_platform.contract.keys import ApiKey

router = APIRouter()
NOUNS = ("domain", "job", "attempt", "snapshot", "version", "alias", "route", "key", "webhook", "budget")
Noun = Annotated[str, Query(max_length=32)]


@router.get("/audit")
def audit(
    request: Request,
    context: Ctx,
    visitor: Admin,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    noun: Noun = "",
) -> HTMLResponse:
    """Who did what, newest first; the first page goes on as things happen."""
    who = visitor.principal
    with context.database.read() as state:
        found = state.events.newest_first(who.tenant, noun=noun or None, before=after, size=ROWS + 1)
    more = found[ROWS - 1].seq if len(found) > ROWS else None
    events = [Event.describe(event, id=event.seq) for event in found[:ROWS]]
    return page(request, "audit.html", visitor, events=events, more=more, noun=noun, nouns=NOUNS, after=after)


@router.get("/keys")
def list_keys(
    request: Request, context: Ctx, visitor: Admin, after: Annotated[int | None, Query(ge=0, le=2**62)] = None
) -> HTMLResponse:
    """API keys and webhooks of the tenant."""
    who = visitor.principal
    with context.database.read() as state:
        found = state.keys.page(who.tenant, after=after, size=ROWS + 1)
        hooks = [webhooks.described(state, hook) for hook in state.webhooks.page(who.tenant)]
    more = found[ROWS - 1].seq if len(found) > ROWS else None
    keys = [ApiKey.describe(key) for key in found[:ROWS]]
    return page(request, "keys.html", visitor, keys=keys, hooks=hooks, more=more, after=after)
