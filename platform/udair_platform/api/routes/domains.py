"""Domains: create, list, get, change, delete, roll back; and their snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from udair_platform.api.context import Ctx
from udair_platform.api.middleware.idempotency import IdempotentRoute, derived
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Approver, DomainReader, DomainWriter
from udair_platform.api.schemas import DomainCreate, DomainPatch, GatePatch, Rollback
from udair_platform.contract.aliases import Alias
from udair_platform.contract.domains import Domain, GateRules, Schedule, ScheduleStatus
from udair_platform.contract.pages import DomainPage, SnapshotPage
from udair_platform.contract.snapshots import Snapshot
from udair_platform.documents.route_entries import champions_out_of_use
from udair_platform.entities import alias
from udair_platform.entities import domain as entity
from udair_platform.entities.intent import Intent
from udair_platform.errors import EtagMismatch, Forbidden
from udair_platform.services import domains, promotion
from udair_platform.services.uploads import source_of_uploads
from udair_platform.state.repositories import State

router = APIRouter(prefix="/v1/domains", tags=["domains"], route_class=IdempotentRoute)
IfMatch = Annotated[str | None, Header(max_length=64)]


@router.post("", status_code=201)
def create_domain(body: DomainCreate, request: Request, response: Response, context: Ctx, who: DomainWriter) -> Domain:
    """Register a place: where its images are, and which limits its gate keeps."""
    if not who.claims.reaches(body.name):
        raise Forbidden(f"The key ak_{who.claims.kid} is limited to its domains; {body.name!r} is none of them.")
    source_uri, uploaded = body.source_uri, body.source_uri is None
    if source_uri is None:
        source_uri = source_of_uploads(context.store, who.tenant, body.name)
    with context.change(who) as tx:
        created = domains.create(
            tx,
            tenant=who.tenant,
            name=body.name,
            source_uri=source_uri,
            gate=GateRules.describe(body.gate),
            description=body.description,
            intent=Intent(body.tone, body.tone_aim, body.reference_uri),
            schedule=Schedule.describe(body.schedule),
            source_role_arn=body.source_role_arn,
            folders=context.settings.local_folders,
            uploaded=uploaded,
            role_required=context.settings.require_source_role and not uploaded,
            id=derived(request, "d", who),
        )
        view = _shown(tx.state, created)
    response.headers["Location"] = f"/v1/domains/{created.name}"
    response.headers["ETag"] = view.etag
    return view


@router.get("")
def list_domains(page: Paged, context: Ctx, who: DomainReader) -> DomainPage:
    """Domains, oldest first."""
    with context.database.read() as state:
        found = state.domains.page(who.tenant, after=page.after, size=page.size + 1, names=who.claims.domains)
        shown, token = page.cut(found, lambda domain: domain.seq)
        views = described(state, shown)
    return DomainPage(domains=views, next_page_token=token)


@router.get("/{domain}")
def get_domain(domain: str, response: Response, context: Ctx, who: DomainReader) -> Domain:
    """One domain."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        view = _shown(state, found)
    response.headers["ETag"] = view.etag
    return view


@router.patch("/{domain}")
def change_domain(
    domain: str,
    body: DomainPatch,
    response: Response,
    context: Ctx,
    who: DomainWriter,
    if_match: IfMatch = None,
) -> Domain:
    """Change the description, the intent, the gate rules or the schedule; versions keep the verdicts they have."""
    with context.change(who) as tx:
        found = _unchanged(who.domain(tx.state, domain), if_match)
        rules = _patched(found.gate, body.gate) if body.gate else found.gate
        if found.gate.four_eyes and not rules.four_eyes and not who.claims.allows("admin"):
            raise Forbidden(f"gate.four_eyes of {found.name!r} may be taken away by an admin only.")
        schedule = Schedule.describe(body.schedule) if body.schedule else None
        saved = domains.change(
            tx,
            found,
            gate=rules,
            description=body.description,
            intent=_intended(found.intent, body),
            schedule=schedule,
            folders=context.settings.local_folders,
            role_required=context.settings.require_source_role,
        )
        view = _shown(tx.state, saved)
    response.headers["ETag"] = view.etag
    return view


@router.delete("/{domain}", status_code=204)
def delete_domain(domain: str, context: Ctx, who: DomainWriter, if_match: IfMatch = None) -> None:
    """End a domain; its history and its stored objects stay."""
    with context.change(who) as tx:
        domains.delete(tx, _unchanged(who.domain(tx.state, domain), if_match))


@router.post("/{domain}:rollback")
def roll_back(domain: str, context: Ctx, who: Approver, body: Rollback | None = None) -> Alias:
    """Let the version that served before serve again."""
    body = body or Rollback()
    with context.change(who) as tx:
        found = who.domain(tx.state, domain)
        moved = promotion.rollback(tx, found, reason=body.reason or "rollback", if_current=body.if_current)
    return Alias.describe(moved)


@router.get("/{domain}/snapshots")
def list_snapshots(domain: str, page: Paged, context: Ctx, who: DomainReader) -> SnapshotPage:
    """Snapshots of the domain's images, newest first."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        snapshots = state.snapshots.page(who.tenant, found.id, after=page.after, size=page.size + 1)
    shown, token = page.cut(snapshots, lambda snapshot: snapshot.seq)
    return SnapshotPage(snapshots=[Snapshot.describe(item) for item in shown], next_page_token=token)


@router.get("/{domain}/snapshots/{snapshot}")
def get_snapshot(domain: str, snapshot: str, context: Ctx, who: DomainReader) -> Snapshot:
    """One snapshot."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return Snapshot.describe(state.snapshots.get(who.tenant, snapshot, domain_id=found.id))


def described(state: State, found: Sequence[entity.Domain]) -> list[Domain]:
    """Domains of one tenant for whoever asks, here or in the console."""
    aliases = state.aliases.of_domains(found[0].tenant, [domain.id for domain in found]) if found else {}
    stopped = champions_out_of_use(state, aliases, found)
    views = []
    for domain in found:
        points = {item.name: item.version for item in aliases[domain.id]}
        view = Domain.describe(
            domain,
            schedule=ScheduleStatus.describe(domain.schedule, next_run_time=domain.next_run_time),
            champion=points.get(alias.CHAMPION, entity.SOURCE_VERSION),
            aliases=points,
            etag=_etag(domain),
            out_of_use=stopped.get(domain.id, ""),
        )
        views.append(view)
    return views


def _shown(state: State, domain: entity.Domain) -> Domain:
    return described(state, [domain])[0]


def _etag(domain: entity.Domain) -> str:
    return f'"{domain.row_version}"'


def _unchanged(domain: entity.Domain, if_match: str | None) -> entity.Domain:
    if if_match is not None and if_match.strip() not in ("*", _etag(domain)):
        raise EtagMismatch(f"Domain {domain.name!r} has ETag {_etag(domain)}; If-Match is {if_match[:40]}.")
    return domain


def _intended(intent: Intent, patch: DomainPatch) -> Intent:
    given = {name: getattr(patch, name) for name in ("tone_aim", "reference_uri") if name in patch.model_fields_set}
    return replace(intent, tone=patch.tone or intent.tone, **given)


def _patched(rules: GateRules, patch: GatePatch) -> GateRules:
    given = {name: value for name, value in patch.model_dump(exclude_unset=True).items() if value is not None}
    limits = {**rules.limits, **given.pop("limits", {})}
    given["limits"] = {name: value for name, value in limits.items() if value is not None}
    return rules.model_copy(update=given)
