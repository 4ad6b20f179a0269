"""Adapter versions, in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import and_, func, literal_column, or_, select, tuple_

from udair_platform.contract.domains import Traffic
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import DomainState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import NotFound
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant
from udair_platform.state.tables import ALIASES, DOMAINS, VERSIONS


@dataclass(frozen=True)
class UnsettledVersion:
    """A version that somebody has to decide about, and the name and traffic of its domain."""

    domain_id: str
    number: int
    state: VersionState
    verdict: str | None
    base_digest: str
    reviewed_by: str | None
    name: str
    traffic: Traffic


class Versions(Repository):
    """Versions of a tenant's domains."""

    def add(self, version: AdapterVersion) -> None:
        """Insert `version`; its number must be `next_number` of the same transaction."""
        self._insert(VERSIONS, version)

    def next_number(self, tenant: TenantScope, domain_id: str) -> int:
        """1 for the first version of a domain, then 2, 3…"""
        where = (in_tenant(VERSIONS, tenant), VERSIONS.c.domain_id == domain_id)
        highest = self._connection.scalar(select(func.max(VERSIONS.c.number)).where(*where))
        return (highest or 0) + 1

    def get(self, tenant: TenantScope, domain_id: str, number: int) -> AdapterVersion:
        """One version.

        Raises:
            NotFound: There is none.
        """
        where = (
            in_tenant(VERSIONS, tenant),
            VERSIONS.c.domain_id == domain_id,
            VERSIONS.c.number == number,
        )
        version = self._one(AdapterVersion, select(VERSIONS).where(*where))
        if version is None:
            raise NotFound(f"The domain has no version {number}. `udair version list` shows those there are.")
        return version

    def in_state(self, tenant: TenantScope, state: VersionState, *, size: int) -> list[AdapterVersion]:
        """The newest versions in a state, over all domains, newest first."""
        where = (in_tenant(VERSIONS, tenant), VERSIONS.c.state == state)
        statement = select(VERSIONS).where(*where).order_by(VERSIONS.c.created_time.desc()).limit(size)
        return self._all(AdapterVersion, statement)

    def of_job(self, tenant: TenantScope, job_id: str) -> AdapterVersion | None:
        """The version that came of the job, if one did."""
        where = (in_tenant(VERSIONS, tenant), VERSIONS.c.job_id == job_id)
        return self._one(AdapterVersion, select(VERSIONS).where(*where))

    def page(
        self, tenant: TenantScope, domain_id: str, *, after: int | None = None, size: int = 100
    ) -> list[AdapterVersion]:
        """Versions of the domain, newest first; those below number `after`."""
        statement = select(VERSIONS).where(in_tenant(VERSIONS, tenant), VERSIONS.c.domain_id == domain_id)
        if after is not None:
            statement = statement.where(VERSIONS.c.number < after)
        return self._all(AdapterVersion, statement.order_by(VERSIONS.c.number.desc()).limit(size))

    def unapproved(self, *, before: datetime, size: int = 100) -> list[AdapterVersion]:
        """Versions of any tenant that have waited for an approval since before that time, longest first."""
        # The state is spelled out, not bound: only so SQLite sees that the partial index will do.
        waiting = VERSIONS.c.state == literal_column(f"'{VersionState.PENDING_APPROVAL}'")
        statement = select(VERSIONS).where(waiting, VERSIONS.c.updated_time < before)
        return self._all(AdapterVersion, statement.order_by(VERSIONS.c.updated_time).limit(size))

    def many(self, tenant: TenantScope, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], AdapterVersion]:
        """The versions with these (domain id, number), in one or few questions."""
        wanted = list(keys)
        found: dict[tuple[str, int], AdapterVersion] = {}
        for start in range(0, len(wanted), 400):  # SQLite bounds the variables of a statement
            pair = tuple_(VERSIONS.c.domain_id, VERSIONS.c.number)
            where = (in_tenant(VERSIONS, tenant), pair.in_(wanted[start : start + 400]))
            for version in self._all(AdapterVersion, select(VERSIONS).where(*where)):
                found[version.domain_id, version.number] = version
        return found

    def verdicts_of(self, tenant: TenantScope, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str | None]:
        """The verdicts on the versions with these (domain id, number), without their evidence."""
        wanted = list(keys)
        found: dict[tuple[str, int], str | None] = {}
        for start in range(0, len(wanted), 400):
            pair = tuple_(VERSIONS.c.domain_id, VERSIONS.c.number)
            columns = select(VERSIONS.c.domain_id, VERSIONS.c.number, VERSIONS.c.verdict)
            where = (in_tenant(VERSIONS, tenant), pair.in_(wanted[start : start + 400]))
            for domain_id, number, verdict in self._connection.execute(columns.where(*where)).tuples():
                found[domain_id, number] = verdict
        return found

    def unsettled(self, tenant: TenantScope, *, size: int) -> list[UnsettledVersion]:
        """The newest version of each living domain where that is refused, not decided about, or newer than what serves.

        Latest first, without evidence.
        """
        later = VERSIONS.alias("later")
        newest = select(func.max(later.c.number)).where(later.c.domain_id == VERSIONS.c.domain_id).scalar_subquery()
        champion = and_(ALIASES.c.domain_id == VERSIONS.c.domain_id, ALIASES.c.name == CHAMPION)
        columns = [VERSIONS.c[item.name] for item in fields(UnsettledVersion) if item.name in VERSIONS.c]
        waiting = and_(VERSIONS.c.state == VersionState.ACTIVE, VERSIONS.c.number > ALIASES.c.version)
        open_states = (VersionState.REJECTED, VersionState.PENDING_APPROVAL)
        statement = (
            select(*columns, DOMAINS.c.name, DOMAINS.c.traffic)
            .join(DOMAINS, DOMAINS.c.id == VERSIONS.c.domain_id)
            .join(ALIASES, champion)
            .where(in_tenant(VERSIONS, tenant), DOMAINS.c.state != DomainState.DELETED)
            .where(VERSIONS.c.number == newest, or_(VERSIONS.c.state.in_(open_states), waiting))
            .order_by(VERSIONS.c.created_time.desc())
            .limit(size)
        )
        return self._all(UnsettledVersion, statement)

    def verdicts(self, tenant: TenantScope) -> dict[str, int]:
        """How many versions the gate gave each verdict that it gave any."""
        counted = select(VERSIONS.c.verdict, func.count()).where(in_tenant(VERSIONS, tenant))
        rows = self._connection.execute(counted.group_by(VERSIONS.c.verdict)).tuples().all()
        return {verdict: count for verdict, count in rows if verdict is not None}

    def every(self) -> list[AdapterVersion]:
        """Every version of every tenant."""
        return self._all(AdapterVersion, select(VERSIONS))

    def save(self, version: AdapterVersion) -> AdapterVersion:
        """Write over what was read. Raises StaleWrite."""
        return self._save(VERSIONS, version, "domain_id", "number")
