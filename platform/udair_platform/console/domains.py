"""The list of domains, and one of them: what serves it, since when, and what its traffic looks like."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import Principal
from udair_platform.api.routes import serving_history, versions
from udair_platform.api.routes.domains import described
from udair_platform.api.routes.jobs import described as described_jobs
from udair_platform.console import charts, plots
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader, Session
from udair_platform.contract.aliases import AliasChange
from udair_platform.contract.snapshots import Snapshot
from udair_platform.contract.usage import Period
from udair_platform.entities.alias import CHAMPION, PREVIOUS
from udair_platform.errors import PlatformError, StoreDown
from udair_platform.services import observed, served
from udair_platform.services.observed import ReplicaReports
from udair_platform.services.reports import DRIFTED
from udair_platform.services.serving_history import as_csv, as_json
from udair_platform.state.repositories import State

router = APIRouter()
ROWS = 50
_UNDOABLE = timedelta(minutes=10)


@dataclass(frozen=True)
class Refused:
    """A form of a domain's page that was sent and not accepted: it is shown again, as it was filled in.

    Attributes:
        form: intent, schedule or traffic.
        entered: By the name of the field.
    """

    form: str
    entered: Mapping[str, str | bool]
    error: PlatformError

    def said(self, field: str) -> str:
        """What is wrong with a field; of ``""`` what is wrong with none of them alone."""
        told = [one.detail for one in self.error.errors if one.pointer.rpartition("/")[2] == field]
        return " ".join(told) if field else "" if self.error.errors else self.error.detail


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
        domains = described(state, shown)
        names = {domain.id: domain.name for domain in shown}
        last = [job for domain in shown for job in state.jobs.page(who.tenant, domain_id=domain.id, size=1)]
        newest = {job.domain: job for job in described_jobs(state, last, names)}
        total = count(state, who)
    more = shown[-1].seq if len(found) > ROWS else None
    return page(
        request,
        "domains.html",
        visitor,
        domains=domains,
        traffic={domain.name: domain.traffic for domain in shown},
        newest=newest,
        more=more,
        after=after,
        total=total,
        prefix=prefix,
    )


@router.get("/domains/{name}")
def show_domain(request: Request, name: str, context: Ctx, visitor: Reader, period: Period = "day") -> HTMLResponse:
    """One place: what serves it, since when, what else there is, and what its traffic looks like."""
    return domain_page(request, name, context, visitor, period)


def domain_page(
    request: Request,
    name: str,
    context: Context,
    visitor: Session,
    period: Period = "day",
    refused: Refused | None = None,
) -> HTMLResponse:
    """The page of a domain.

    Args:
        refused: What was sent from it and cannot be accepted.
    """
    who, now = visitor.principal, context.clock()
    with context.database.read() as state:
        domain = who.domain(state, name)
        aliases = state.aliases.all(who.tenant, domain.id)
        view = described(state, [domain])[0]
        made = versions.described(state, domain, state.versions.page(who.tenant, domain.id, size=ROWS), aliases)
        ran = state.jobs.page(who.tenant, domain_id=domain.id, size=10)
        jobs = described_jobs(state, ran, {domain.id: domain.name})
        moves = state.aliases.history(who.tenant, domain.id, CHAMPION, size=20)
        snapshots = state.snapshots.page(who.tenant, domain.id, size=5)
        metrics = served.of_domain(state, domain, period, now)
        drifted = state.events.latest(who.tenant, domain.id, DRIFTED, size=30)
    try:
        seen, trouble = ReplicaReports(context.store, now).of_domain(domain), ""
    except StoreDown as error:
        seen, trouble = observed.ReplicaObservations(), error.detail
    window = seen.drift[0] if seen.drift else None
    history = [AliasChange.describe(move) for move in moves]
    last = history[0] if history else None
    undo = last if last and last.from_version is not None and last.actor == who.actor else None
    if undo is not None and now - undo.time > _UNDOABLE:
        undo = None
    return page(
        request,
        "domain.html",
        visitor,
        refused.error.status if refused else 200,
        refused=refused,
        domain=view,
        traffic=domain.traffic,
        previous=view.aliases.get(PREVIOUS),
        versions=made,
        jobs=jobs,
        history=history,
        snapshots=[Snapshot.describe(snapshot) for snapshot in snapshots],
        seen=seen,
        trouble=trouble,
        undo=undo,
        window=window,
        changes=charts.changes(window),
        timeline=charts.timeline(drifted, window),
        metrics=metrics,
        plots=plots.served(metrics),
    )


@router.get("/domains/{name}/history.zip")
def download_history(name: str, context: Ctx, visitor: Reader) -> Response:
    """What served when, why, and approved by whom: as CSV and JSON, each with its signature beside it."""
    export = serving_history.of_domain(context, visitor.principal, name, None, None)
    made = {"csv": as_csv(export), "json": as_json(export)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, data in made.items():
            archive.writestr(f"{name}-history.{suffix}", data)
            signature = serving_history.signature_of(context, export, data)
            archive.writestr(f"{name}-history.{suffix}.signature", signature)
    headers = {"Content-Disposition": f'attachment; filename="{name}-history.zip"'}
    return Response(packed.getvalue(), media_type="application/zip", headers=headers)


def count(state: State, who: Principal) -> int:
    """How many domains the key reaches."""
    limited = who.claims.domains
    if limited is None:
        return state.domains.count(who.tenant)
    return len(state.domains.page(who.tenant, names=limited, size=len(limited)))


def names_of(state: State, tenant: str, domain_ids: Iterable[str]) -> dict[str, str]:
    """What the domains with these ids are called."""
    return {id: state.domains.by_id(tenant, id).name for id in set(domain_ids)}
