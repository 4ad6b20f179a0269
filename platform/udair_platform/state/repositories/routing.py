"""What routes.json needs of every living domain, in one question."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select

from udair_platform.contract.domains import Traffic
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import DomainState
from udair_platform.state.repositories.rows import Repository
from udair_platform.state.tables import ALIASES, DOMAINS, VERSIONS

_NEWER = VERSIONS.alias("newer")


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
            .where(_NEWER.c.domain_id == DOMAINS.c.id)
            .order_by(_NEWER.c.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        champion = and_(ALIASES.c.domain_id == DOMAINS.c.id, ALIASES.c.name == CHAMPION)
        version = and_(VERSIONS.c.domain_id == DOMAINS.c.id, VERSIONS.c.number == ALIASES.c.version)
        statement = (
            select(
                DOMAINS.c.id.label("domain_id"),
                DOMAINS.c.tenant,
                DOMAINS.c.name,
                DOMAINS.c.source_uri,
                DOMAINS.c.traffic,
                DOMAINS.c.source_role_arn,
                DOMAINS.c.external_id,
                VERSIONS.c.number,
                VERSIONS.c.base_digest,
                VERSIONS.c.adapter_digest,
                VERSIONS.c.candidate_uri,
                newest.label("newest_uri"),
            )
            .select_from(DOMAINS.outerjoin(ALIASES, champion).outerjoin(VERSIONS, version))
            .where(DOMAINS.c.state != DomainState.DELETED)
        )
        return self._all(Routed, statement)
