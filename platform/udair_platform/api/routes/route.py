"""How a domain's requests are shared out, and which replicas are ready for them: canary, shadow, pinning."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import Approver, DomainReader
from udair_platform.api.schemas import RoutePut
from udair_platform.contract.domains import Route, Traffic
from udair_platform.documents.route_entries import champions_out_of_use
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.errors import StoreDown
from udair_platform.services import traffic
from udair_platform.services.observed import ReplicaReports
from udair_platform.state.repositories import State

router = APIRouter(prefix="/v1/domains/{domain}/route", tags=["routes"])


@router.get("")
def get_route(domain: str, context: Ctx, who: DomainReader) -> Route:
    """What serves the domain, and what besides."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        route = _route(state, found)
    return _held(route, context, found)


@router.put("")
def put_route(domain: str, body: RoutePut, context: Ctx, who: Approver) -> Route:
    """Set canary, shadow, pinning and `min_ready`; what is left out is taken away."""
    wanted = Traffic.model_validate(body.model_dump())
    with context.change(who) as tx:
        saved = traffic.set_traffic(tx, who.domain(tx.state, domain), wanted, reason=body.reason or "set")
        route = _route(tx.state, saved)
    return _held(route, context, saved)


def _held(route: Route, context: Context, domain: Domain) -> Route:
    """The same with what the replicas say of it, if the store answers."""
    if route.version == SOURCE_VERSION or route.out_of_use:
        return route
    try:
        seen = ReplicaReports(context.store, context.clock()).of_domain(domain)
    except StoreDown:  # readiness says so
        return route
    return route.model_copy(update={"holders": seen.held.count(route.version), "unheld": next(iter(seen.unheld), "")})


def _route(state: State, domain: Domain) -> Route:
    traffic, champion = domain.traffic, state.aliases.get(domain.tenant, domain.id, CHAMPION)
    kind = "CANARYING" if traffic.canary else "SHADOWING" if traffic.shadow else "ACTIVE"
    stopped = champions_out_of_use(state, {domain.id: [champion]}, [domain])
    return Route.describe(
        traffic,
        state=kind,
        version=champion.version,
        tone=domain.tone,
        passthrough=domain.passthrough,
        out_of_use=stopped.get(domain.id, ""),
    )
