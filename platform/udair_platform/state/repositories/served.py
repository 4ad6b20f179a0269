"""What was served, minute by minute, and how far each replica's reports were taken over, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select, tuple_, update

from udair_platform.entities.served import Served
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant, values_of
from udair_platform.state.tables import REPORTS_TAKEN, SERVED

_AT_ONCE, _ROWS = 500, 100  # domains a question, rows a statement: SQLite bounds its variables
_KEY = ("domain_id", "span_s", "begin_time", "version")


class ServedMinutes(Repository):
    """Minutes of every domain, and hours of those that are older."""

    def of_domain(self, tenant: TenantScope, domain_id: str, *, since: datetime, until: datetime) -> list[Served]:
        """What of a domain began from one moment until before another."""
        where = (
            in_tenant(SERVED, tenant),
            SERVED.c.domain_id == domain_id,
            SERVED.c.begin_time >= since,
            SERVED.c.begin_time < until,
        )
        return self._all(Served, select(SERVED).where(*where).order_by(SERVED.c.begin_time))

    def add(self, rows: Sequence[Served]) -> None:
        """Put these, no two of one key, on top of what is there."""
        there = {row.key: row for row in self._alike(rows)}
        self.remove(list(there.values()))
        sums = [there[row.key].plus(row) if row.key in there else row for row in rows]
        if sums:  # what is returned makes one statement of many rows
            self._connection.execute(insert(SERVED).returning(SERVED.c.version), [values_of(row) for row in sums])

    def before(self, time: datetime, *, span_s: int, size: int) -> list[Served]:
        """At most `size` of those that began before `time`, the oldest first."""
        where = (SERVED.c.span_s == span_s, SERVED.c.begin_time < time)
        return self._all(Served, select(SERVED).where(*where).order_by(SERVED.c.begin_time).limit(size))

    def remove(self, rows: Sequence[Served]) -> None:
        """Take these away."""
        key = tuple_(*(SERVED.c[name] for name in _KEY))
        for start in range(0, len(rows), _ROWS):
            keys = [row.key for row in rows[start : start + _ROWS]]
            self._connection.execute(delete(SERVED).where(key.in_(keys)))

    def forget_before(self, time: datetime, *, span_s: int) -> None:
        """Take away all that began before `time`."""
        self._connection.execute(delete(SERVED).where(SERVED.c.span_s == span_s, SERVED.c.begin_time < time))

    def taken(self, replica: str) -> int:
        """The number of the last minute of a replica that was taken over; 0 before the first."""
        where = REPORTS_TAKEN.c.replica == replica
        return self._connection.scalar(select(REPORTS_TAKEN.c.minutes).where(where)) or 0

    def take(self, replica: str, minutes: int, *, now: datetime) -> None:
        """Remember the number of the last minute of a replica that was taken over."""
        values = {"minutes": minutes, "taken_time": now}
        done = self._connection.execute(
            update(REPORTS_TAKEN).where(REPORTS_TAKEN.c.replica == replica).values(**values)
        )
        if done.rowcount == 0:
            self._connection.execute(insert(REPORTS_TAKEN).values(replica=replica, **values))

    def forget_replicas(self, time: datetime) -> None:
        """Forget those whose reports were last taken over before `time`."""
        self._connection.execute(delete(REPORTS_TAKEN).where(REPORTS_TAKEN.c.taken_time < time))

    def _alike(self, rows: Sequence[Served]) -> list[Served]:
        ids = sorted({row.domain_id for row in rows})
        spans, times = ({getattr(row, name) for row in rows} for name in ("span_s", "begin_time"))
        alike: list[Served] = []
        for start in range(0, len(ids), _AT_ONCE):
            where = (
                SERVED.c.domain_id.in_(ids[start : start + _AT_ONCE]),
                SERVED.c.span_s.in_(spans),
                SERVED.c.begin_time.in_(times),
            )
            alike += self._all(Served, select(SERVED).where(*where))
        wanted = {row.key for row in rows}
        return [row for row in alike if row.key in wanted]
