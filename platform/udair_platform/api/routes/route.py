"""How a domain's requests are shared out: canary, shadow, pinning."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import Approver, DomainReader
from udair_platform.api.schemas import RoutePut
from udair_platform.contract.domains import Route, Traffic
from udair_platform.entities.alias import CHAMPION, Alias
from udair_platform.entities.domain import Domain
from udair_platform.services import traffic

router = APIRouter(prefix="/v1/domains/{domain}/route", tags=["routes"])


@router.get("")
def get_route(domain: str, context: Ctx, who: DomainReader) -> Route:
    """What serves the domain, and what besides."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return _route(found, state.aliases.get(who.tenant, found.id, CHAMPION))


@router.put("")
def put_route(domain: str, body: RoutePut, context: Ctx, who: Approver) -> Route:
    """Set canary, shadow and pinning; what is left out is taken away."""
    wanted = Traffic.model_validate(body.model_dump())
    with context.change(who) as tx:
        saved = traffic.set_traffic(tx, who.domain(tx.state, domain), wanted, reason=body.reason or "set")
        return _route(saved, tx.state.aliases.get(who.tenant, saved.id, CHAMPION))


def _route(domain: Domain, champion: Alias) -> Route:
    traffic = domain.traffic
    state = "CANARYING" if traffic.canary else "SHADOWING" if traffic.shadow else "ACTIVE"
    return Route.describe(traffic, state=state, version=champion.version)
