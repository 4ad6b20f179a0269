"""The data plane as its replicas report it: throughput, latency, the bank, and what each domain asks of it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.documents.route_entries import why_stopped
from udair_platform.services import observed
from udair_platform.services.observed import ReplicaReports

router = APIRouter()
_SHOWN = 100


@router.get("/serving")
def show_serving(request: Request, context: Ctx, visitor: Reader) -> HTMLResponse:
    """Replicas and the busiest domains. What a replica is busy with over all tenants is for its operator."""
    who = visitor.principal
    found = ReplicaReports(context.store, context.clock()).replicas(who.tenant)
    domains = [(name, seen) for name, seen in observed.over(found).items() if who.claims.reaches(name)]
    operator = who.tenant == context.settings.default_tenant and who.claims.domains is None
    loads = [replica.load for replica in found if replica.load]
    pace = {
        "images_per_s": round(sum(load.get("images_per_s", 0.0) for load in loads), 3),
        "p99_ms": round(1000 * max((load.get("p99_s", 0.0) for load in loads), default=0.0), 1),
        "time": max((replica.time for replica in found), default=0.0),
    }
    with context.database.read() as state:
        base = state.bases.current()
        routed = state.routing.troubled(who.tenant, base.digest, names=who.claims.domains, size=1000) if base else []
    return page(
        request,
        "serving.html",
        visitor,
        troubled={one.name: "out of use" if why_stopped(one, base) else "as it came" for one in routed},
        replicas=found,
        domains=sorted(domains, key=lambda item: -item[1].images)[:_SHOWN],
        count=len(domains),
        operator=operator,
        pace=pace,
        url=context.settings.serve_url,
    )
