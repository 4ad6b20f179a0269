"""Events, leases and counters, in SQL."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select, update

from udair_platform.entities.event import Event
from udair_platform.errors import LeaseLost
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant, paged
from udair_platform.state.tables import COUNTERS, EVENTS, LEASES


class Events(Repository):
    """What happened. There is no way to change or delete one."""

    def add(self, event: Event) -> None:
        """Append `event`."""
        self._insert(EVENTS, event)

    def page(
        self,
        tenant: TenantScope,
        *,
        domain_id: str | None = None,
        noun: str | None = None,
        name: str | None = None,
        after: int | None = None,
        size: int = 100,
    ) -> list[Event]:
        """Events after the one numbered `after`, oldest first."""
        where = [in_tenant(EVENTS, tenant)]
        if domain_id is not None:
            where.append(EVENTS.c.domain_id == domain_id)
        if noun is not None:
            where.append(EVENTS.c.noun == noun)
        if name is not None:
            where.append(EVENTS.c.name == name)
        return self._all(Event, paged(EVENTS, *where, after=after, size=size, newest_first=False))

    def last(self, tenant: TenantScope, noun: str, name: str) -> int:
        """Number of the newest event of one thing; 0 if there is none."""
        where = (in_tenant(EVENTS, tenant), EVENTS.c.noun == noun, EVENTS.c.name == name)
        return self._connection.scalar(select(func.max(EVENTS.c.seq)).where(*where)) or 0

    def newest_first(
        self, tenant: TenantScope, *, noun: str | None = None, before: int | None = None, size: int = 100
    ) -> list[Event]:
        """Events before the one numbered `before`, newest first."""
        where = [in_tenant(EVENTS, tenant)] + ([EVENTS.c.noun == noun] if noun else [])
        return self._all(Event, paged(EVENTS, *where, after=before, size=size, newest_first=True))

    def since(self, tenant: TenantScope, kind: str, time: datetime, *, size: int) -> list[Event]:
        """The newest events of one kind that happened after `time`, newest first."""
        where = (in_tenant(EVENTS, tenant), EVENTS.c.kind == kind, EVENTS.c.time > time)
        return self._all(Event, paged(EVENTS, *where, after=None, size=size, newest_first=True))

    def of_kinds(self, tenant: TenantScope, domain_id: str, kinds: Collection[str]) -> list[Event]:
        """All of the domain's events of these kinds, oldest first."""
        where = (in_tenant(EVENTS, tenant), EVENTS.c.domain_id == domain_id, EVENTS.c.kind.in_(kinds))
        return self._all(Event, select(EVENTS).where(*where).order_by(EVENTS.c.seq))

    def latest(self, tenant: TenantScope, domain_id: str, kind: str, *, size: int) -> list[Event]:
        """The domain's newest events of one kind, newest first."""
        where = (in_tenant(EVENTS, tenant), EVENTS.c.domain_id == domain_id, EVENTS.c.kind == kind)
        return self._all(Event, paged(EVENTS, *where, after=None, size=size, newest_first=True))

    def newest(self, tenant: TenantScope) -> int:
        """Number of the newest event; 0 before the first."""
        return self._connection.scalar(select(func.max(EVENTS.c.seq)).where(in_tenant(EVENTS, tenant))) or 0


class Leases(Repository):
    """Who may act, until when. A new holder's token is higher, which fences the old one."""

    def acquire(self, name: str, holder: str, *, now: datetime, ttl_s: float) -> int | None:
        """Take or renew the lease; its token, or None while another holds it.

        One that lasts more than twice `ttl_s` from now was written by a clock that was ahead, and counts as
        expired: nobody waits for as long as that clock was wrong. (Clocks that differ by less than `ttl_s`
        take nothing from each other.) The token of whoever held it is void then, as at every change of holder.
        """
        row = self._connection.execute(select(LEASES).where(LEASES.c.name == name)).mappings().first()
        expires = now + timedelta(seconds=ttl_s)
        if row is None:
            values = {"name": name, "holder": holder, "token": 1, "expires_time": expires}
            self._connection.execute(insert(LEASES).values(**values))
            return 1
        if row["holder"] != holder and now < row["expires_time"] <= expires + timedelta(seconds=ttl_s):
            return None
        token = int(row["token"]) + int(row["holder"] != holder)
        values = {"holder": holder, "token": token, "expires_time": expires}
        self._connection.execute(update(LEASES).where(LEASES.c.name == name).values(**values))
        return token

    def check(self, name: str, holder: str, token: int) -> None:
        """Refuse to go on unless `holder` still has the lease under `token`.

        An expired lease that nobody took is still good: the check runs in the same transaction as
        the write that it guards.

        Raises:
            LeaseLost: Another has it.
        """
        where = (LEASES.c.name == name, LEASES.c.holder == holder, LEASES.c.token == token)
        if self._connection.scalar(select(LEASES.c.name).where(*where)) is None:
            raise LeaseLost(f"The lease {name!r} is no longer ours ({holder}, token {token}); nothing was written.")

    def held(self, name: str) -> tuple[str, datetime] | None:
        """Who has the lease, or had it, and until when; None if nobody ever did."""
        columns = select(LEASES.c.holder, LEASES.c.expires_time)
        return self._connection.execute(columns.where(LEASES.c.name == name)).tuples().first()

    def release(self, name: str, holder: str, *, now: datetime) -> None:
        """Let another take it at once."""
        where = (LEASES.c.name == name, LEASES.c.holder == holder)
        self._connection.execute(update(LEASES).where(*where).values(expires_time=now))


class Counters(Repository):
    """Numbers that only rise."""

    def value(self, name: str) -> int:
        """Where the counter stands; 0 before its first step."""
        return self._connection.scalar(select(COUNTERS.c.value).where(COUNTERS.c.name == name)) or 0

    def under(self, prefix: str) -> dict[str, int]:
        """Every counter whose name begins so, by the rest of its name."""
        rows = self._connection.execute(select(COUNTERS).where(COUNTERS.c.name.startswith(prefix, autoescape=True)))
        return {row.name.removeprefix(prefix): row.value for row in rows}

    def step(self, name: str, *, at_least: int = 0) -> int:
        """Raise the counter by one, or to `at_least` if that is more; its new value."""
        value = max(self.value(name) + 1, at_least)
        changed = self._connection.execute(update(COUNTERS).where(COUNTERS.c.name == name).values(value=value))
        if changed.rowcount == 0:
            self._connection.execute(insert(COUNTERS).values(name=name, value=value))
        return value
