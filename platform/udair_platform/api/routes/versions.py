"""Adapter versions of a domain: by number or @alias, the gate's report, and what people decide."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.middleware.idempotency import IdempotentRoute
from udair_platform.api.pages import VersionPage
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Approver, DomainReader, Principal
from udair_platform.api.schemas import Promote, ReviewRequest
from udair_platform.api.views.domains import AliasView
from udair_platform.api.views.versions import GateReportView, VersionView
from udair_platform.entities.version import AdapterVersion
from udair_platform.services import approval, promotion, versions

router = APIRouter(prefix="/v1/domains/{domain}/versions", tags=["versions"], route_class=IdempotentRoute)


@router.get("")
def list_versions(domain: str, page: Paged, context: Ctx, who: DomainReader) -> VersionPage:
    """Versions, newest first. Version 0, the source model, is not listed."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        every = state.versions.page(who.tenant, found.id, after=page.after, size=page.size + 1)
        aliases = state.aliases.all(who.tenant, found.id)
    shown, token = page.cut(every, lambda version: version.number)
    views = [VersionView.of(version, found.name, aliases) for version in shown]
    return VersionPage(versions=views, next_page_token=token)


@router.get("/{version}")
def get_version(domain: str, version: str, context: Ctx, who: DomainReader) -> VersionView:
    """One version, by number or @alias."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        number = versions.resolve(state, found, version)
        one = state.versions.get(who.tenant, found.id, number)
        return VersionView.of(one, found.name, state.aliases.all(who.tenant, found.id))


@router.get("/{version}/gate")
def get_gate(domain: str, version: str, context: Ctx, who: DomainReader) -> GateReportView:
    """The verdict, each check with its measurement and limit, and the evidence."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        number = versions.resolve(state, found, version)
        return GateReportView.of(state.versions.get(who.tenant, found.id, number))


@router.post("/{version}:promote")
def promote(domain: str, version: str, context: Ctx, who: Approver, body: Promote | None = None) -> AliasView:
    """Let a version serve; 0 is the source model. The one that served becomes `previous`."""
    body = body or Promote()
    with context.database.write() as state:
        found = who.domain(state, domain)
        moved = promotion.promote(
            state,
            found,
            versions.resolve(state, found, version),
            actor=who.actor,
            reason=body.reason or "promote",
            now=context.clock(),
            if_current=body.if_current,
        )
    context.publish_routes()
    return AliasView.of(moved)


@router.post("/{version}:approve")
def approve(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> VersionView:
    """Let a version that waits for a person become promotable. Approving it again changes nothing."""
    return _decided(domain, version, context, who, body, approval.approve)


@router.post("/{version}:reject")
def reject(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> VersionView:
    """Refuse a version that waits for a person, for good. Rejecting it again changes nothing."""
    return _decided(domain, version, context, who, body, approval.reject)


@router.post("/{version}:archive")
def archive(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> VersionView:
    """Put away a version that no alias and no share of the traffic points at."""
    return _decided(domain, version, context, who, body, approval.archive)


def _decided(
    domain: str,
    version: str,
    context: Ctx,
    who: Principal,
    body: ReviewRequest | None,
    decide: Callable[..., AdapterVersion],
) -> VersionView:
    reason = body.reason if body else ""
    with context.database.write() as state:
        found = who.domain(state, domain)
        number = versions.resolve(state, found, version)
        decided = decide(state, found, number, actor=who.actor, reason=reason, now=context.clock())
        return VersionView.of(decided, found.name, state.aliases.all(who.tenant, found.id))
