"""Between rows and entities: fields are columns, writes carry the optimistic lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final, Protocol, TypeVar, cast

from sqlalchemy import ColumnElement, Select, Table, insert, select, true, update
from sqlalchemy.engine import Connection, RowMapping

from udair_platform.errors import StaleWrite


class AllTenants:
    """Says in so many words that a question crosses tenants; only the platform itself may ask so."""


ALL_TENANTS: Final = AllTenants()
TenantScope = str | AllTenants


class Locked(Protocol):
    """An entity with an optimistic lock."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def row_version(self) -> int:
        """How often it was written."""
        ...


E = TypeVar("E")
L = TypeVar("L", bound=Locked)


def in_tenant(table: Table, tenant: TenantScope) -> ColumnElement[bool]:
    """The condition that keeps tenants apart."""
    return true() if isinstance(tenant, AllTenants) else table.c.tenant == tenant


def to_entity(kind: type[E], row: RowMapping) -> E:
    """The entity that `row` holds."""
    names = [item.name for item in fields(cast(Any, kind)) if item.name in row]
    return kind(**{name: row[name] for name in names})


def values_of(entity: Any, *, without: Sequence[str] = ("seq",)) -> dict[str, Any]:
    """Column values of `entity`."""
    return {item.name: getattr(entity, item.name) for item in fields(entity) if item.name not in without}


class Repository:
    """Shared by every repository: the connection, and four verbs over one table."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _one(self, kind: type[E], statement: Select[Any]) -> E | None:
        row = self._connection.execute(statement).mappings().first()
        return None if row is None else to_entity(kind, row)

    def _all(self, kind: type[E], statement: Select[Any]) -> list[E]:
        result = self._connection.execute(statement)
        there = set(result.keys())
        names = [item.name for item in fields(cast(Any, kind)) if item.name in there]  # once, not for every row
        return [kind(**{name: row[name] for name in names}) for row in result.mappings()]

    def _insert(self, table: Table, entity: Any) -> None:
        self._connection.execute(insert(table).values(**values_of(entity)))

    def _save(self, table: Table, entity: L, *keys: str) -> L:
        """Write `entity` over the row it was read from.

        Raises:
            StaleWrite: Somebody else has written that row since.
        """
        version = entity.row_version + 1
        statement = update(table).where(
            table.c.tenant == entity.tenant,
            table.c.row_version == entity.row_version,
            *(table.c[key] == getattr(entity, key) for key in keys),
        )
        values = values_of(entity, without=("seq", "tenant", "row_version", *keys))
        done = self._connection.execute(statement.values(**values, row_version=version))
        if done.rowcount != 1:
            name = "/".join(str(getattr(entity, key)) for key in keys)
            raise StaleWrite(f"{table.name} {name} was changed by somebody else. Read it again and repeat.")
        return replace(cast(Any, entity), row_version=version)  # type: ignore[no-any-return]


def paged(table: Table, *where: ColumnElement[bool], after: int | None, size: int, newest_first: bool) -> Select[Any]:
    """`size` rows beyond the row numbered `after`, in the order of `seq`."""
    statement = select(table).where(*where).limit(size)
    if newest_first:
        statement = statement.order_by(table.c.seq.desc())
        return statement if after is None else statement.where(table.c.seq < after)
    statement = statement.order_by(table.c.seq)
    return statement if after is None else statement.where(table.c.seq > after)
