"""What routes.json needs of every living domain, in one question."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select

from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import DomainState, Traffic
from udair_platform.state.repositories.rows import Repository, table_of
from udair_platform.state.tables import AliasRow, DomainRow, VersionRow

_DOMAINS, _ALIASES, _VERSIONS = table_of(DomainRow), table_of(AliasRow), table_of(VersionRow)
_NEWER = _VERSIONS.alias("newer")


@dataclass(frozen=True)
class Routed:
    """A living domain, the version that its champion points at, and where its newest version is.

    The version's fields are None where the champion is the source model.
    """

    domain_id: str
    tenant: str
    name: str
    source_uri: str
    source_role_arn: str | None
    external_id: str
    traffic: Traffic
    number: int | None
    base_digest: str | None
    adapter_digest: str | None
    candidate_uri: str | None
    newest_uri: str | None


class Routing(Repository):
    """Reads across tenants, for the platform itself: ten thousand domains without one evidence or report."""

    def all(self) -> list[Routed]:
        """Every living domain."""
        newest = (
            select(_NEWER.c.candidate_uri)
            .where(_NEWER.c.domain_id == _DOMAINS.c.id)
            .order_by(_NEWER.c.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        champion = and_(_ALIASES.c.domain_id == _DOMAINS.c.id, _ALIASES.c.name == CHAMPION)
        version = and_(_VERSIONS.c.domain_id == _DOMAINS.c.id, _VERSIONS.c.number == _ALIASES.c.version)
        statement = (
            select(
                _DOMAINS.c.id.label("domain_id"),
                _DOMAINS.c.tenant,
                _DOMAINS.c.name,
                _DOMAINS.c.source_uri,
                _DOMAINS.c.traffic,
                _DOMAINS.c.source_role_arn,
                _DOMAINS.c.external_id,
                _VERSIONS.c.number,
                _VERSIONS.c.base_digest,
                _VERSIONS.c.adapter_digest,
                _VERSIONS.c.candidate_uri,
                newest.label("newest_uri"),
            )
            .select_from(_DOMAINS.outerjoin(_ALIASES, champion).outerjoin(_VERSIONS, version))
            .where(_DOMAINS.c.state != DomainState.DELETED)
        )
        return self._all(Routed, statement)
