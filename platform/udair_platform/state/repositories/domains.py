"""Domains, their aliases and the base models, in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from udair_platform.entities.alias import Alias, AliasChange
from udair_platform.entities.domain import Domain, DomainState
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.errors import AliasMoved, AlreadyExists, NotFound
from udair_platform.state.repositories.rows import (
    Repository,
    TenantScope,
    in_tenant,
    paged,
    values_of,
)
from udair_platform.state.tables import ALIAS_CHANGES, ALIASES, BASE_MODELS, DOMAINS

_LIVING = DOMAINS.c.state != DomainState.DELETED


class BaseModels(Repository):
    """Base models belong to the platform, not to a tenant."""

    def add(self, base: RegisteredModel) -> None:
        """Register `base`, which is the current one from now on; the same digest twice is one."""
        known = self._connection.scalar(select(BASE_MODELS.c.seq).where(BASE_MODELS.c.digest == base.digest))
        newest = self._connection.scalar(select(func.max(BASE_MODELS.c.seq))) or 0
        # The number is ours, not the database's: moving one up would overtake a sequence of its own.
        if known is None:
            self._connection.execute(insert(BASE_MODELS).values(**values_of(base), seq=newest + 1))
        else:
            values = {"seq": known if known == newest else newest + 1, "uri": base.uri, "name": base.name}
            self._connection.execute(update(BASE_MODELS).where(BASE_MODELS.c.seq == known).values(**values))

    def current(self, digest: str | None = None) -> RegisteredModel | None:
        """The base model with `digest`, or the one registered last."""
        statement = select(BASE_MODELS).order_by(BASE_MODELS.c.seq.desc()).limit(1)
        return self._one(
            RegisteredModel, statement if digest is None else statement.where(BASE_MODELS.c.digest == digest)
        )

    def all(self) -> list[RegisteredModel]:
        """All of them, oldest first."""
        return self._all(RegisteredModel, select(BASE_MODELS).order_by(BASE_MODELS.c.seq))


class Domains(Repository):
    """A tenant's living domains, by name; a deleted one only by its id."""

    def add(self, domain: Domain) -> None:
        """Insert `domain`.

        Raises:
            AlreadyExists: The tenant has a living domain of that name.
        """
        try:
            self._insert(DOMAINS, domain)
        except IntegrityError as error:
            raise AlreadyExists(f"Domain {domain.name!r} exists already. Choose another name.") from error

    def get(self, tenant: TenantScope, name: str) -> Domain:
        """The tenant's living domain called `name`.

        Raises:
            NotFound: There is none.
        """
        statement = select(DOMAINS).where(in_tenant(DOMAINS, tenant), DOMAINS.c.name == name, _LIVING)
        return self._found(self._one(Domain, statement), name)

    def by_id(self, tenant: TenantScope, id: str) -> Domain:
        """The domain with `id`, deleted or not.

        Raises:
            NotFound: There is none.
        """
        statement = select(DOMAINS).where(in_tenant(DOMAINS, tenant), DOMAINS.c.id == id)
        return self._found(self._one(Domain, statement), id)

    def living(self, tenant: TenantScope, id: str) -> Domain | None:
        """The domain with `id` unless it is deleted, or None."""
        where = (in_tenant(DOMAINS, tenant), DOMAINS.c.id == id, _LIVING)
        return self._one(Domain, select(DOMAINS).where(*where))

    def names(self, tenant: TenantScope, ids: Iterable[str]) -> dict[str, str]:
        """What the living ones of these domains are called, by id."""
        wanted, found = sorted(set(ids)), dict[str, str]()
        for start in range(0, len(wanted), 400):  # SQLite bounds the variables of a statement
            where = (in_tenant(DOMAINS, tenant), _LIVING, DOMAINS.c.id.in_(wanted[start : start + 400]))
            found |= dict(self._connection.execute(select(DOMAINS.c.id, DOMAINS.c.name).where(*where)).tuples().all())
        return found

    def ids(self, tenant: TenantScope, names: Iterable[str]) -> dict[str, str]:
        """The ids of the living domains that are called so, by name."""
        wanted, found = sorted(set(names)), dict[str, str]()
        for start in range(0, len(wanted), 400):
            where = (in_tenant(DOMAINS, tenant), _LIVING, DOMAINS.c.name.in_(wanted[start : start + 400]))
            found |= dict(self._connection.execute(select(DOMAINS.c.name, DOMAINS.c.id).where(*where)).tuples().all())
        return found

    def exists(self, id: str) -> bool:
        """Whether the id is taken, by anybody, living or deleted."""
        return self._connection.scalar(select(DOMAINS.c.id).where(DOMAINS.c.id == id)) is not None

    def page(
        self,
        tenant: TenantScope,
        *,
        after: int | None = None,
        size: int = 100,
        names: Sequence[str] | None = None,
        prefix: str = "",
    ) -> list[Domain]:
        """Living domains, oldest first; with `names`, only those; with `prefix`, only those whose names begin so."""
        where = [in_tenant(DOMAINS, tenant), _LIVING]
        if names is not None:
            where.append(DOMAINS.c.name.in_(names))
        if prefix:
            where.append(DOMAINS.c.name.startswith(prefix, autoescape=True))
        return self._all(Domain, paged(DOMAINS, *where, after=after, size=size, newest_first=False))

    def count(self, tenant: TenantScope) -> int:
        """How many living domains there are."""
        where = (in_tenant(DOMAINS, tenant), _LIVING)
        return self._connection.scalar(select(func.count()).select_from(DOMAINS).where(*where)) or 0

    def due(self, tenant: TenantScope, now: datetime, *, size: int = 100) -> list[Domain]:
        """Living domains whose schedule has come true, the longest due first."""
        where = (in_tenant(DOMAINS, tenant), _LIVING, DOMAINS.c.next_run_time <= now)
        return self._all(Domain, select(DOMAINS).where(*where).order_by(DOMAINS.c.next_run_time).limit(size))

    def every(self) -> list[Domain]:
        """Every domain of every tenant, deleted ones too."""
        return self._all(Domain, select(DOMAINS))

    def save(self, domain: Domain) -> Domain:
        """Write over what was read. Raises StaleWrite."""
        return self._save(DOMAINS, domain, "id")

    @staticmethod
    def _found(domain: Domain | None, name: str) -> Domain:
        if domain is None:
            raise NotFound(f"There is no domain {name!r}. `udair domain list` shows those that you may see.")
        return domain


class Aliases(Repository):
    """Aliases move by compare-and-set, and every move leaves a line of history."""

    def get(self, tenant: TenantScope, domain_id: str, name: str) -> Alias:
        """Where `name` points.

        Raises:
            NotFound: It has never pointed anywhere.
        """
        alias = self.find(tenant, domain_id, name)
        if alias is None:
            raise NotFound(f"The domain has no alias {name!r}.")
        return alias

    def find(self, tenant: TenantScope, domain_id: str, name: str) -> Alias | None:
        """Where `name` points, or None."""
        where = (in_tenant(ALIASES, tenant), ALIASES.c.domain_id == domain_id, ALIASES.c.name == name)
        return self._one(Alias, select(ALIASES).where(*where))

    def of_domains(self, tenant: TenantScope, domain_ids: Iterable[str]) -> dict[str, list[Alias]]:
        """The aliases of each of these domains, in one question."""
        found: dict[str, list[Alias]] = {id: [] for id in domain_ids}
        where = (in_tenant(ALIASES, tenant), ALIASES.c.domain_id.in_(found))
        for alias in self._all(Alias, select(ALIASES).where(*where).order_by(ALIASES.c.name)):
            found[alias.domain_id].append(alias)
        return found

    def all(self, tenant: TenantScope, domain_id: str | None = None) -> list[Alias]:
        """Every alias, of one domain or of all."""
        statement = select(ALIASES).where(in_tenant(ALIASES, tenant))
        if domain_id is not None:
            statement = statement.where(ALIASES.c.domain_id == domain_id)
        return self._all(Alias, statement.order_by(ALIASES.c.domain_id, ALIASES.c.name))

    def move(
        self,
        domain: Domain,
        name: str,
        to: int,
        *,
        expected: int | None,
        actor: str,
        reason: str,
        now: datetime,
    ) -> Alias:
        """Point `name` of `domain` at version `to`, if it points at `expected` (None: at nothing yet).

        Raises:
            AliasMoved: It points elsewhere.
        """
        tenant, domain_id = domain.tenant, domain.id
        where = (ALIASES.c.tenant == tenant, ALIASES.c.domain_id == domain_id, ALIASES.c.name == name)
        if expected is None:
            try:
                self._insert(ALIASES, Alias(domain_id, tenant, name, to, now))
            except IntegrityError as error:
                raise AliasMoved(f"Alias {name!r} points somewhere already; expected it to be new.") from error
        else:
            values = {"version": to, "updated_time": now, "row_version": ALIASES.c.row_version + 1}
            statement = update(ALIASES).where(*where, ALIASES.c.version == expected).values(**values)
            if self._connection.execute(statement).rowcount != 1:
                actual = self.find(tenant, domain_id, name)
                points = f"points at version {actual.version}" if actual else "points nowhere"
                raise AliasMoved(f"Alias {name!r} {points}; expected {expected}. Read it again and repeat.")
        change = AliasChange(domain_id, tenant, name, expected, to, actor, reason, now)
        self._connection.execute(insert(ALIAS_CHANGES).values(**values_of(change)))
        return self.get(tenant, domain_id, name)

    def history(
        self, tenant: TenantScope, domain_id: str, name: str, *, after: int | None = None, size: int = 100
    ) -> list[AliasChange]:
        """Moves of `name`, newest first."""
        where = (in_tenant(ALIAS_CHANGES, tenant), ALIAS_CHANGES.c.domain_id == domain_id, ALIAS_CHANGES.c.name == name)
        return self._all(AliasChange, paged(ALIAS_CHANGES, *where, after=after, size=size, newest_first=True))

    def moves(self, tenant: TenantScope, domain_id: str) -> int:
        """How often any alias of the domain has moved."""
        where = (in_tenant(ALIAS_CHANGES, tenant), ALIAS_CHANGES.c.domain_id == domain_id)
        return self._connection.scalar(select(func.count()).select_from(ALIAS_CHANGES).where(*where)) or 0
