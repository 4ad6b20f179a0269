"""The audit log of the tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from udair_platform.api import streams as responses
from udair_platform.api.context import Ctx
from udair_platform.api.feed import Filter
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Admin
from udair_platform.api.streams import STREAM
from udair_platform.contract.events import Event
from udair_platform.contract.pages import EventPage

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get("", response_model=EventPage, responses=STREAM)
def list_events(
    page: Paged,
    request: Request,
    context: Ctx,
    who: Admin,
    domain: Annotated[str | None, Query(max_length=63)] = None,
    noun: Annotated[str | None, Query(max_length=32)] = None,
) -> Response | EventPage:
    """Everything that happened, oldest first: who, what, when, and because of what.

    With `Accept: text/event-stream` what happens from now on, or after `Last-Event-ID`.
    """
    with context.database.read() as state:
        domain_id = who.domain(state, domain).id if domain else None
        if responses.wanted(request):
            which = Filter(who.tenant, domain_id=domain_id, noun=noun)
            return responses.events(request, which, responses.last_id(request))
        events = state.events.page(who.tenant, domain_id=domain_id, noun=noun, after=page.after, size=page.size + 1)
    shown, token = page.cut(events, lambda event: event.seq)
    return EventPage(events=[Event.describe(event, id=event.seq) for event in shown], next_page_token=token)
