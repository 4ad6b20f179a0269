"""Aliases of a domain: where they point, compare-and-set, and who moved them when and why."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Approver, DomainReader
from udair_platform.api.schemas import AliasPut
from udair_platform.contract.aliases import Alias, AliasChange
from udair_platform.contract.pages import AliasHistory, AliasPage
from udair_platform.services import promotion

router = APIRouter(prefix="/v1/domains/{domain}/aliases", tags=["aliases"])


@router.get("")
def list_aliases(domain: str, context: Ctx, who: DomainReader) -> AliasPage:
    """Every alias."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return AliasPage(aliases=[Alias.describe(alias) for alias in state.aliases.all(who.tenant, found.id)])


@router.get("/{alias}")
def get_alias(domain: str, alias: str, context: Ctx, who: DomainReader) -> Alias:
    """Where one alias points."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        return Alias.describe(state.aliases.get(who.tenant, found.id, alias))


@router.put("/{alias}")
def put_alias(domain: str, alias: str, body: AliasPut, context: Ctx, who: Approver) -> Alias:
    """Point an alias at a version, if it still points at `if_current`."""
    with context.change(who) as tx:
        found = who.domain(tx.state, domain)
        moved = promotion.point(tx, found, alias, body.version, reason=body.reason or "set", if_current=body.if_current)
    return Alias.describe(moved)


@router.get("/{alias}/history")
def list_alias_changes(domain: str, alias: str, page: Paged, context: Ctx, who: DomainReader) -> AliasHistory:
    """Moves of an alias, newest first."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        state.aliases.get(who.tenant, found.id, alias)
        moves = state.aliases.history(who.tenant, found.id, alias, after=page.after, size=page.size + 1)
    shown, token = page.cut(moves, lambda move: move.seq)
    return AliasHistory(changes=[AliasChange.describe(move) for move in shown], next_page_token=token)
