"""How a domain's requests are shared out: canary, shadow, pinning."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import Approver, DomainReader
from udair_platform.api.schemas import RoutePut, ShareBody
from udair_platform.api.views.domains import RouteView
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import Share, Traffic
from udair_platform.services import traffic

router = APIRouter(prefix="/v1/domains/{domain}/route", tags=["routes"])


@router.get("")
def get_route(domain: str, context: Ctx, who: DomainReader) -> RouteView:
    """What serves the domain, and what besides."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return RouteView.of(found, state.aliases.get(who.tenant, found.id, CHAMPION))


@router.put("")
def put_route(domain: str, body: RoutePut, context: Ctx, who: Approver) -> RouteView:
    """Set canary, shadow and pinning; what is left out is taken away."""
    wanted = Traffic(_share(body.canary), _share(body.shadow), body.pinned)
    with context.database.write() as state:
        saved = traffic.set_traffic(
            state, who.domain(state, domain), wanted, actor=who.actor, reason=body.reason or "set", now=context.clock()
        )
        view = RouteView.of(saved, state.aliases.get(who.tenant, saved.id, CHAMPION))
    context.publish_routes()
    return view


def _share(body: ShareBody | None) -> Share | None:
    return None if body is None else Share(body.version, body.percent)
