"""Adapter versions of a domain: by number or @alias, the gate's report, and what people decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.middleware.idempotency import IdempotentRoute
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Approver, DomainReader, Principal
from udair_platform.api.schemas import Promote, ReviewRequest
from udair_platform.contract.aliases import Alias
from udair_platform.contract.pages import VersionPage
from udair_platform.contract.versions import GateReport, Version
from udair_platform.documents.route_entries import out_of_use
from udair_platform.entities import alias as entity
from udair_platform.entities.domain import Domain
from udair_platform.entities.version import AdapterVersion
from udair_platform.services import approval, promotion, versions
from udair_platform.state.repositories import State

router = APIRouter(prefix="/v1/domains/{domain}/versions", tags=["versions"], route_class=IdempotentRoute)


@router.get("")
def list_versions(domain: str, page: Paged, context: Ctx, who: DomainReader) -> VersionPage:
    """Versions, newest first. Version 0, the source model, is not listed."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        every = state.versions.page(who.tenant, found.id, after=page.after, size=page.size + 1)
        aliases = state.aliases.all(who.tenant, found.id)
        shown, token = page.cut(every, lambda version: version.number)
        views = described(state, found, shown, aliases)
    return VersionPage(versions=views, next_page_token=token)


@router.get("/{version}")
def get_version(domain: str, version: str, context: Ctx, who: DomainReader) -> Version:
    """One version, by number or @alias."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        number = versions.resolve(state, found, version)
        one = state.versions.get(who.tenant, found.id, number)
        return described(state, found, [one], state.aliases.all(who.tenant, found.id))[0]


@router.get("/{version}/gate")
def get_gate(domain: str, version: str, context: Ctx, who: DomainReader) -> GateReport:
    """The verdict, each check with its measurement and limit, and the evidence."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        number = versions.resolve(state, found, version)
        one = state.versions.get(who.tenant, found.id, number)
    report: Mapping[str, Any] = one.gate or {}
    return GateReport.describe(
        one, version=one.number, checks=report.get("checks", []), rules=report.get("rules", {}), evidence=one.evidence
    )


@router.post("/{version}:promote")
def promote(domain: str, version: str, context: Ctx, who: Approver, body: Promote | None = None) -> Alias:
    """Let a version serve; 0 is the source model. The one that served becomes `previous`."""
    body = body or Promote()
    with context.change(who) as tx:
        found = who.domain(tx.state, domain)
        number = versions.resolve(tx.state, found, version)
        moved = promotion.promote(tx, found, number, reason=body.reason or "promote", if_current=body.if_current)
    return Alias.describe(moved)


@router.post("/{version}:approve")
def approve(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> Version:
    """Let a version that waits for a person become promotable. Approving it again changes nothing."""
    return _decided(domain, version, context, who, body, approval.approve)


@router.post("/{version}:reject")
def reject(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> Version:
    """Refuse a version that waits for a person, for good. Rejecting it again changes nothing."""
    return _decided(domain, version, context, who, body, approval.reject)


@router.post("/{version}:archive")
def archive(domain: str, version: str, context: Ctx, who: Approver, body: ReviewRequest | None = None) -> Version:
    """Put away a version that no alias and no share of the traffic points at."""
    return _decided(domain, version, context, who, body, approval.archive)


def _decided(
    domain: str,
    version: str,
    context: Ctx,
    who: Principal,
    body: ReviewRequest | None,
    decide: Callable[..., AdapterVersion],
) -> Version:
    reason = body.reason if body else ""
    with context.change(who) as tx:
        found = who.domain(tx.state, domain)
        decided = decide(tx, found, versions.resolve(tx.state, found, version), reason=reason)
        return described(tx.state, found, [decided], tx.state.aliases.all(who.tenant, found.id))[0]


def described(
    state: State, domain: Domain, found: Sequence[AdapterVersion], aliases: Sequence[entity.Alias]
) -> list[Version]:
    """Versions of `domain` for whoever asks, here or in the console."""
    base = state.bases.current()
    pointing: dict[int, list[str]] = {one.number: [] for one in found}
    for alias in sorted(aliases, key=lambda alias: alias.name):
        pointing.get(alias.version, []).append(alias.name)
    return [
        Version.describe(
            one,
            domain=domain.name,
            aliases=pointing[one.number],
            out_of_use=out_of_use(domain, one, base),
        )
        for one in found
    ]
