"""The pages: each is a question that somebody who runs domains asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from udair_platform.api.auth import Principal
from udair_platform.api.context import Ctx
from udair_platform.console import pictures, session
from udair_platform.console.rendering import page
from udair_platform.console.session import Session, Visitor
from udair_platform.entities.domain import CHAMPION, PREVIOUS, SOURCE_VERSION, Domain
from udair_platform.entities.job import Job, JobState
from udair_platform.entities.version import VersionState
from udair_platform.entities.webhook import WebhookState
from udair_platform.errors import Forbidden, StoreDown, Unauthenticated
from udair_platform.registry import observed
from udair_platform.state.repositories import State

router = APIRouter()
_ROWS = 50
_RECENT = timedelta(days=2)


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at."""

    kind: str
    text: str
    link: str


@router.get("/login")
def show_login(request: Request, next: Annotated[str, Query(max_length=300)] = "/console/") -> Response:
    """Ask for a key."""
    return page(request, "login.html", None, next=_inside(next), problem="")


@router.post("/login")
def log_in(
    request: Request, key: Annotated[str, Form(max_length=5000)], next: Annotated[str, Form(max_length=300)] = ""
) -> Response:
    """Check the key and begin a session."""
    answer = RedirectResponse(_inside(next), 303)
    try:
        session.begin(request, answer, key)
    except Unauthenticated as error:
        return page(request, "login.html", None, 401, next=_inside(next), problem=error.detail)
    return answer


@router.post("/logout")
def log_out(request: Request, visitor: Visitor, form_token: Annotated[str, Form(max_length=100)]) -> Response:
    """End the session in this browser."""
    session.check_form(request, visitor, form_token)
    answer = RedirectResponse("/console/login", 303)
    session.end(answer)
    return answer


@router.get("/")
def overview(request: Request, context: Ctx, visitor: Visitor) -> HTMLResponse:
    """What needs attention now, and what happened last."""
    who = _reader(visitor)
    with context.database.read() as state:
        recent = state.jobs.page(who.tenant, size=_ROWS)
        names = _names(state, who.tenant, recent)
        recent = [job for job in recent if who.claims.reaches(names[job.domain_id])]
        waiting = state.versions.in_state(who.tenant, VersionState.PENDING_APPROVAL, size=20)
        names |= {v.domain_id: state.domains.by_id(who.tenant, v.domain_id).name for v in waiting}
        hooks = state.webhooks.page(who.tenant) if who.claims.allows("admin") and who.claims.domains is None else []
        drifted = state.events.since(who.tenant, "domain.drifted", context.clock() - _RECENT, size=20)
        domains = _count(state, who)
    concerns = [
        Attention("review", f"{names[v.domain_id]}@{v.number} waits for a decision: the gate could not say.",
                  f"/console/domains/{names[v.domain_id]}/versions/{v.number}")
        for v in waiting if who.claims.reaches(names[v.domain_id])
    ]  # fmt: skip
    concerns += [
        Attention("failed", f"A job of {names[job.domain_id]} {job.state.lower()}: {job.reason}. {job.detail[:120]}",
                  f"/console/domains/{names[job.domain_id]}/jobs/{job.id}")
        for job in _newest_of_each_domain(recent)
        if job.state in (JobState.FAILED, JobState.EXPIRED) and job.updated_time > context.clock() - _RECENT
    ]  # fmt: skip
    concerns += [
        Attention("drift", f"{event.name} sees other images than its adapter was made of.", f"/console/domains/{event.name}")
        for event in {event.name: event for event in drifted}.values() if who.claims.reaches(event.name)
    ]  # fmt: skip
    concerns += [
        Attention("webhook", f"Webhook {hook.url.partition('?')[0]} is disabled: {hook.last_error[:100]}", "/console/audit?noun=webhook")
        for hook in hooks if hook.state is WebhookState.DISABLED
    ]  # fmt: skip
    running = [job for job in recent if not job.done]
    return page(
        request, "overview.html", visitor,
        concerns=concerns, recent=recent[:10], names=names, running=running, domains=domains,
    )  # fmt: skip


@router.get("/domains")
def list_domains(
    request: Request, context: Ctx, visitor: Visitor, after: Annotated[int, Query(ge=0)] = 0
) -> HTMLResponse:
    """Every domain, what serves it, and how its newest job went."""
    who = _reader(visitor)
    with context.database.read() as state:
        found = state.domains.page(who.tenant, after=after, size=_ROWS + 1, names=who.claims.domains)
        shown = found[:_ROWS]
        serving = {domain.id: _serving(state, domain) for domain in shown}
        newest = {
            domain.id: next(iter(state.jobs.page(who.tenant, domain_id=domain.id, size=1)), None) for domain in shown
        }
        total = _count(state, who)
    more = shown[-1].seq if len(found) > _ROWS else None
    return page(
        request, "domains.html", visitor,
        domains=shown, serving=serving, newest=newest, more=more, after=after, total=total,
    )  # fmt: skip


@router.get("/domains/{name}")
def show_domain(request: Request, name: str, context: Ctx, visitor: Visitor) -> HTMLResponse:
    """One place: what serves it, since when, what else there is, and what its traffic looks like."""
    who = _reader(visitor)
    with context.database.read() as state:
        domain = who.domain(state, name)
        aliases = {alias.name: alias.version for alias in state.aliases.all(who.tenant, domain.id)}
        versions = state.versions.page(who.tenant, domain.id, size=_ROWS)
        jobs = state.jobs.page(who.tenant, domain_id=domain.id, size=10)
        history = state.aliases.history(who.tenant, domain.id, CHAMPION, size=20)
        snapshot = state.snapshots.latest(who.tenant, domain.id)
    try:
        seen, trouble = observed.of_domain(context.store, domain, context.clock()), ""
    except StoreDown as error:
        seen, trouble = observed.Observed(), error.detail
    window = seen.drift[0] if seen.drift else None
    return page(
        request, "domain.html", visitor,
        domain=domain, aliases=aliases, champion=aliases.get(CHAMPION, SOURCE_VERSION), previous=aliases.get(PREVIOUS),
        versions=versions, jobs=jobs, history=history, snapshot=snapshot, seen=seen, trouble=trouble,
        changes=_changes(window), window=window,
    )  # fmt: skip


@router.get("/domains/{name}/jobs/{id}")
def show_job(request: Request, name: str, id: str, context: Ctx, visitor: Visitor) -> HTMLResponse:
    """One job, as it goes on."""
    who = _reader(visitor)
    with context.database.read() as state:
        domain = who.domain(state, name)
        job = state.jobs.get(who.tenant, id, domain_id=domain.id)
        attempts = state.attempts.of_job(who.tenant, job.id)
        events = state.events.page(who.tenant, noun="job", name=job.id, size=200)
    return page(request, "job.html", visitor, domain=domain, job=job, attempts=attempts, events=events)


@router.get("/domains/{name}/versions/{number}")
def show_version(request: Request, name: str, number: int, context: Ctx, visitor: Visitor) -> HTMLResponse:
    """One version: the pictures before and after, what the gate measured, and where it comes from."""
    who = _reader(visitor)
    with context.database.read() as state:
        domain = who.domain(state, name)
        version = state.versions.get(who.tenant, domain.id, number)
        job = state.jobs.get(who.tenant, version.job_id)
        snapshot = state.snapshots.get(who.tenant, version.snapshot_id)
        champion = state.aliases.get(who.tenant, domain.id, CHAMPION).version
    gate: Mapping[str, Any] = version.gate or {}
    return page(
        request, "version.html", visitor,
        domain=domain, version=version, job=job, snapshot=snapshot, champion=champion,
        checks=gate.get("checks", []), images=pictures.index(context, version),
    )  # fmt: skip


@router.get("/audit")
def audit(
    request: Request, context: Ctx, visitor: Visitor,
    after: Annotated[int | None, Query(ge=0)] = None, noun: Annotated[str, Query(max_length=32)] = "",
) -> HTMLResponse:  # fmt: skip
    """Who did what, newest first."""
    who = _admin(visitor)
    with context.database.read() as state:
        found = state.events.newest_first(who.tenant, noun=noun or None, before=after, size=_ROWS + 1)
    more = found[_ROWS - 1].seq if len(found) > _ROWS else None
    return page(request, "audit.html", visitor, events=found[:_ROWS], more=more, noun=noun)


@router.get("/keys")
def list_keys(request: Request, context: Ctx, visitor: Visitor) -> HTMLResponse:
    """API keys and webhooks of the tenant."""
    who = _admin(visitor)
    with context.database.read() as state:
        keys = state.keys.page(who.tenant, size=500)
        hooks = state.webhooks.page(who.tenant)
        newest = state.events.newest(who.tenant)
    return page(request, "keys.html", visitor, keys=keys, hooks=hooks, newest=newest)


def _admin(visitor: Session) -> Principal:
    """As the API's `Admin`: a key that is limited to some domains would see more than itself."""
    claims = visitor.principal.claims
    if not claims.allows("admin") or claims.domains is not None:
        raise Forbidden(f"The key ak_{claims.kid} is no admin key of the whole tenant, which this page needs.")
    return visitor.principal


def _reader(visitor: Session) -> Principal:
    who = visitor.principal
    if not who.claims.allows("domain:read"):
        raise Forbidden(f"The key ak_{who.claims.kid} has {', '.join(who.claims.scopes)}; pages need domain:read.")
    return who


def _inside(target: str) -> str:
    """A path of the console: nobody is sent elsewhere by a link to the login."""
    fine = target.startswith("/console/") and not any(c in target for c in "\\\r\n") and "//" not in target
    return target if fine and not target.startswith("/console/login") else "/console/"


def _count(state: State, who: Principal) -> int:
    limited = who.claims.domains
    return state.domains.count(who.tenant) if limited is None else len(state.domains.page(who.tenant, names=limited))


def _names(state: State, tenant: str, jobs: Sequence[Job]) -> dict[str, str]:
    return {id: state.domains.by_id(tenant, id).name for id in {job.domain_id for job in jobs}}


def _newest_of_each_domain(jobs: Sequence[Job]) -> list[Job]:
    return list({job.domain_id: job for job in reversed(jobs)}.values())


def _serving(state: State, domain: Domain) -> int:
    alias = state.aliases.find(domain.tenant, domain.id, CHAMPION)
    return alias.version if alias else SOURCE_VERSION


def _changes(window: Mapping[str, Any] | None) -> list[tuple[str, float, float]]:
    """Class, share when the adapter was made, share now; the largest changes first."""
    if not window:
        return []
    before, now = window.get("reference_class_shares") or {}, window.get("class_shares") or {}
    rows = [(name, float(before.get(name, 0.0)), float(share)) for name, share in now.items()]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))
