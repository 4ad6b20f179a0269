"""What routes.json needs of every living domain, in one question."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from udair.config import Tone
from udair_platform.contract.domains import Traffic
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import DomainState
from udair_platform.entities.intent import Intent
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant
from udair_platform.state.tables import ALIASES, DOMAINS, VERSIONS

_NEWER = VERSIONS.alias("newer")
_SHARD_LETTERS = 4  # of an id, "d-" and two of its random ones: 256 shards


def shard_of(domain_id: str) -> str:
    """The part of routes.json that a domain's entry lies in."""
    return domain_id[:_SHARD_LETTERS]


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
    tone: Tone
    tone_aim: float | None
    reference_uri: str | None
    passthrough: str
    number: int | None
    base_digest: str | None
    adapter_digest: str | None
    candidate_uri: str | None
    version_tone: Tone | None
    version_tone_aim: float | None
    version_reference_uri: str | None
    newest_uri: str | None

    @property
    def intent(self) -> Intent:
        """The domain's."""
        return Intent(self.tone, self.tone_aim, self.reference_uri)

    @property
    def made_for(self) -> Intent:
        """The intent of the version."""
        return Intent(self.version_tone or "keep", self.version_tone_aim, self.version_reference_uri)


class Routing(Repository):
    """Reads across tenants, for the platform itself: ten thousand domains without one evidence or report."""

    def all(self, shards: Collection[str] | None = None) -> list[Routed]:
        """Every living domain, or those of some shards."""
        statement = self._living()
        if shards is not None:
            statement = statement.where(func.substr(DOMAINS.c.id, 1, _SHARD_LETTERS).in_(sorted(shards)))
        return self._all(Routed, statement)

    def troubled(
        self, tenant: TenantScope, base_digest: str, *, names: Sequence[str] | None = None, size: int
    ) -> list[Routed]:
        """Living domains whose champion was made for another base model or another intent, or that are served as they came.

        Args:
            names: Only of these.
        """
        other_intent = [
            VERSIONS.c[field].is_distinct_from(DOMAINS.c[field]) for field in ("tone", "tone_aim", "reference_uri")
        ]
        stopped = and_(VERSIONS.c.number.is_not(None), or_(VERSIONS.c.base_digest != base_digest, *other_intent))
        where = [in_tenant(DOMAINS, tenant), or_(stopped, DOMAINS.c.passthrough != "")]
        if names is not None:
            where.append(DOMAINS.c.name.in_(names))
        return self._all(Routed, self._living().where(*where).order_by(DOMAINS.c.name).limit(size))

    @staticmethod
    def _living() -> Select[Any]:
        newest = (
            select(_NEWER.c.candidate_uri)
            .where(_NEWER.c.domain_id == DOMAINS.c.id)
            .order_by(_NEWER.c.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        champion = and_(ALIASES.c.domain_id == DOMAINS.c.id, ALIASES.c.name == CHAMPION)
        version = and_(VERSIONS.c.domain_id == DOMAINS.c.id, VERSIONS.c.number == ALIASES.c.version)
        return (
            select(
                DOMAINS.c.id.label("domain_id"),
                DOMAINS.c.tenant,
                DOMAINS.c.name,
                DOMAINS.c.source_uri,
                DOMAINS.c.traffic,
                DOMAINS.c.tone,
                DOMAINS.c.tone_aim,
                DOMAINS.c.reference_uri,
                DOMAINS.c.passthrough,
                DOMAINS.c.source_role_arn,
                DOMAINS.c.external_id,
                VERSIONS.c.number,
                VERSIONS.c.base_digest,
                VERSIONS.c.adapter_digest,
                VERSIONS.c.candidate_uri,
                VERSIONS.c.tone.label("version_tone"),
                VERSIONS.c.tone_aim.label("version_tone_aim"),
                VERSIONS.c.reference_uri.label("version_reference_uri"),
                newest.label("newest_uri"),
            )
            .select_from(DOMAINS.outerjoin(ALIASES, champion).outerjoin(VERSIONS, version))
            .where(DOMAINS.c.state != DomainState.DELETED)
        )
