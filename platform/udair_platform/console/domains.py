"""The list of domains, and one of them: what serves it, since when, and what its traffic looks like."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.api.principal import Principal
from udair_platform.console import charts
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.entities.alias import CHAMPION, PREVIOUS
from udair_platform.entities.domain import SOURCE_VERSION
from udair_platform.errors import StoreDown
from udair_platform.services import observed
from udair_platform.services.observed import ReplicaReports
from udair_platform.services.reports import DRIFTED
from udair_platform.state.repositories import State

router = APIRouter()
ROWS = 50
_UNDOABLE = timedelta(minutes=10)


@router.get("/domains")
def list_domains(
    request: Request,
    context: Ctx,
    visitor: Reader,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    prefix: Annotated[str, Query(max_length=63)] = "",
) -> HTMLResponse:
    """Every domain, what serves it, and how its newest job went."""
    who, prefix = visitor.principal, prefix.strip().lower()
    with context.database.read() as state:
        found = state.domains.page(who.tenant, after=after, size=ROWS + 1, names=who.claims.domains, prefix=prefix)
        shown = found[:ROWS]
        aliases = state.aliases.of_domains(who.tenant, [domain.id for domain in shown])
        newest = {
            domain.id: next(iter(state.jobs.page(who.tenant, domain_id=domain.id, size=1)), None) for domain in shown
        }
        total = count(state, who)
    serving = {
        id: next((alias.version for alias in points if alias.name == CHAMPION), SOURCE_VERSION)
        for id, points in aliases.items()
    }
    more = shown[-1].seq if len(found) > ROWS else None
    return page(
        request,
        "domains.html",
        visitor,
        domains=shown,
        serving=serving,
        newest=newest,
        more=more,
        after=after,
        total=total,
        prefix=prefix,
    )


@router.get("/domains/{name}")
def show_domain(request: Request, name: str, context: Ctx, visitor: Reader) -> HTMLResponse:
    """One place: what serves it, since when, what else there is, and what its traffic looks like."""
    who, now = visitor.principal, context.clock()
    with context.database.read() as state:
        domain = who.domain(state, name)
        aliases = {alias.name: alias.version for alias in state.aliases.all(who.tenant, domain.id)}
        versions = state.versions.page(who.tenant, domain.id, size=ROWS)
        jobs = state.jobs.page(who.tenant, domain_id=domain.id, size=10)
        history = state.aliases.history(who.tenant, domain.id, CHAMPION, size=20)
        snapshots = state.snapshots.page(who.tenant, domain.id, size=5)
        drifted = state.events.latest(who.tenant, domain.id, DRIFTED, size=30)
    try:
        seen, trouble = ReplicaReports(context.store, now).of_domain(domain), ""
    except StoreDown as error:
        seen, trouble = observed.ReplicaObservations(), error.detail
    window = seen.drift[0] if seen.drift else None
    last = history[0] if history else None
    undo = last if last and last.from_version is not None and last.actor == who.actor else None
    if undo is not None and now - undo.time > _UNDOABLE:
        undo = None
    return page(
        request,
        "domain.html",
        visitor,
        domain=domain,
        aliases=aliases,
        champion=aliases.get(CHAMPION, SOURCE_VERSION),
        previous=aliases.get(PREVIOUS),
        versions=versions,
        jobs=jobs,
        history=history,
        snapshots=snapshots,
        seen=seen,
        trouble=trouble,
        undo=undo,
        window=window,
        changes=charts.changes(window),
        timeline=charts.timeline(drifted, window),
    )


def count(state: State, who: Principal) -> int:
    """How many domains the key reaches."""
    limited = who.claims.domains
    if limited is None:
        return state.domains.count(who.tenant)
    return len(state.domains.page(who.tenant, names=limited, size=len(limited)))


def names_of(state: State, tenant: str, domain_ids: Iterable[str]) -> dict[str, str]:
    """What the domains with these ids are called."""
    return {id: state.domains.by_id(tenant, id).name for id in set(domain_ids)}
