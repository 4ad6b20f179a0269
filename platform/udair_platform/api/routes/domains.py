"""Domains: create, list, get, change, delete, roll back; and their snapshots."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from udair_platform.api.context import Ctx
from udair_platform.api.middleware.idempotency import IdempotentRoute, derived
from udair_platform.api.pages import DomainPage, SnapshotPage
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Approver, DomainReader, DomainWriter
from udair_platform.api.schemas import DomainCreate, DomainPatch, GatePatch, Rollback
from udair_platform.api.views.domains import AliasView, DomainView, SnapshotView, etag_of
from udair_platform.entities.domain import Domain, GateRules
from udair_platform.errors import EtagMismatch, Forbidden
from udair_platform.services import domains, promotion, sources, tenants

router = APIRouter(prefix="/v1/domains", tags=["domains"], route_class=IdempotentRoute)
IfMatch = Annotated[str | None, Header(max_length=64)]


@router.post("", status_code=201)
def create_domain(
    body: DomainCreate, request: Request, response: Response, context: Ctx, who: DomainWriter
) -> DomainView:
    """Register a place: where its images are, and which limits its gate keeps."""
    if not who.claims.reaches(body.name):
        raise Forbidden(f"The key ak_{who.claims.kid} is limited to its domains; {body.name!r} is none of them.")
    source_uri, uploaded = body.source_uri, body.source_uri is None
    if source_uri is None:
        source_uri = sources.managed_uri(context.store, who.tenant, body.name)
    with context.database.write() as state:
        created = domains.create(
            state,
            tenant=who.tenant,
            name=body.name,
            source_uri=source_uri,
            rules=GateRules(**body.gate.model_dump()),
            quota=tenants.default_quota(context.settings),
            description=body.description,
            schedule=body.schedule.schedule(),
            source_role_arn=body.source_role_arn,
            allow_local=context.settings.allow_local_sources,
            store_uri=None if uploaded else context.store.uri,
            role_required=context.settings.require_source_role and not uploaded,
            actor=who.actor,
            now=context.clock(),
            id=derived(request, "d", who),
        )
        view = DomainView.of(created, state.aliases.all(who.tenant, created.id))
    context.publish_routes()
    response.headers["Location"] = f"/v1/domains/{created.name}"
    response.headers["ETag"] = view.etag
    return view


@router.get("")
def list_domains(page: Paged, context: Ctx, who: DomainReader) -> DomainPage:
    """Domains, oldest first."""
    with context.database.read() as state:
        found = state.domains.page(who.tenant, after=page.after, size=page.size + 1, names=who.claims.domains)
        shown, token = page.cut(found, lambda domain: domain.seq)
        aliases = state.aliases.of_domains(who.tenant, [domain.id for domain in shown])
    views = [DomainView.of(domain, aliases[domain.id]) for domain in shown]
    return DomainPage(domains=views, next_page_token=token)


@router.get("/{domain}")
def get_domain(domain: str, response: Response, context: Ctx, who: DomainReader) -> DomainView:
    """One domain."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        view = DomainView.of(found, state.aliases.all(who.tenant, found.id))
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
) -> DomainView:
    """Change the description or the gate rules; versions keep the verdicts they have."""
    with context.database.write() as state:
        found = _unchanged(who.domain(state, domain), if_match)
        rules = _patched(found.gate, body.gate) if body.gate else found.gate
        if found.gate.four_eyes and not rules.four_eyes and not who.claims.allows("admin"):
            raise Forbidden(f"gate.four_eyes of {found.name!r} may be taken away by an admin only.")
        saved = domains.change(
            state,
            found,
            rules=rules,
            description=body.description,
            schedule=body.schedule.schedule() if body.schedule else None,
            actor=who.actor,
            now=context.clock(),
        )
        view = DomainView.of(saved, state.aliases.all(who.tenant, saved.id))
    response.headers["ETag"] = view.etag
    return view


@router.delete("/{domain}", status_code=204)
def delete_domain(domain: str, context: Ctx, who: DomainWriter, if_match: IfMatch = None) -> None:
    """End a domain; its history and its stored objects stay."""
    with context.database.write() as state:
        found = _unchanged(who.domain(state, domain), if_match)
        domains.delete(state, found, actor=who.actor, now=context.clock())
    context.publish_routes()


@router.post("/{domain}:rollback")
def roll_back(domain: str, context: Ctx, who: Approver, body: Rollback | None = None) -> AliasView:
    """Let the version that served before serve again."""
    body = body or Rollback()
    with context.database.write() as state:
        found = who.domain(state, domain)
        moved = promotion.rollback(
            state,
            found,
            actor=who.actor,
            reason=body.reason or "rollback",
            now=context.clock(),
            if_current=body.if_current,
        )
    context.publish_routes()
    return AliasView.of(moved)


@router.get("/{domain}/snapshots")
def list_snapshots(domain: str, page: Paged, context: Ctx, who: DomainReader) -> SnapshotPage:
    """Snapshots of the domain's images, newest first."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        snapshots = state.snapshots.page(who.tenant, found.id, after=page.after, size=page.size + 1)
    shown, token = page.cut(snapshots, lambda snapshot: snapshot.seq)
    return SnapshotPage(snapshots=[SnapshotView.of(item) for item in shown], next_page_token=token)


@router.get("/{domain}/snapshots/{snapshot}")
def get_snapshot(domain: str, snapshot: str, context: Ctx, who: DomainReader) -> SnapshotView:
    """One snapshot."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return SnapshotView.of(state.snapshots.get(who.tenant, snapshot, domain_id=found.id))


def _unchanged(domain: Domain, if_match: str | None) -> Domain:
    if if_match is not None and if_match.strip() not in ("*", etag_of(domain)):
        raise EtagMismatch(f"Domain {domain.name!r} has ETag {etag_of(domain)}; If-Match is {if_match[:40]}.")
    return domain


def _patched(rules: GateRules, patch: GatePatch) -> GateRules:
    limits = {**rules.limits, **(patch.limits or {})}
    return GateRules(
        policy=rules.policy if patch.policy is None else patch.policy,
        limits={name: value for name, value in limits.items() if value is not None},
        allow_inconclusive=(rules.allow_inconclusive if patch.allow_inconclusive is None else patch.allow_inconclusive),
        four_eyes=rules.four_eyes if patch.four_eyes is None else patch.four_eyes,
    )
