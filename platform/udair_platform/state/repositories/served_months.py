"""What was restored for tenants in each month, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant
from udair_platform.state.tables import REPLICA_READINGS, SERVED_MONTHS

Counts = tuple[int, float]  # images, and seconds of model time


class ServedMonths(Repository):
    """Images and model time of tenants by calendar month, and how far each replica's count was read for them."""

    def in_month(self, tenant: TenantScope, month: str) -> dict[str, Counts]:
        """By tenant: what was restored in a month, e.g. ``2026-11``."""
        where = (in_tenant(SERVED_MONTHS, tenant), SERVED_MONTHS.c.month == month)
        rows = self._connection.execute(select(SERVED_MONTHS).where(*where))
        return {row.tenant: (row.images, row.forward_s) for row in rows}

    def add(self, tenant: str, month: str, counts: Counts) -> None:
        """Add to what was restored in a month."""
        images, forward_s = counts
        where = (SERVED_MONTHS.c.tenant == tenant, SERVED_MONTHS.c.month == month)
        raised = {"images": SERVED_MONTHS.c.images + images, "forward_s": SERVED_MONTHS.c.forward_s + forward_s}
        if self._connection.execute(update(SERVED_MONTHS).where(*where).values(raised)).rowcount == 0:
            values = {"tenant": tenant, "month": month, "images": images, "forward_s": forward_s}
            self._connection.execute(insert(SERVED_MONTHS).values(values))

    def read_until(self, replica: str) -> dict[str, Counts]:
        """By tenant: what a replica had counted when its report was read last; nothing of a new one."""
        row = self._connection.execute(
            select(REPLICA_READINGS.c.tenants).where(REPLICA_READINGS.c.replica == replica)
        ).first()
        return {} if row is None else {tenant: (int(images), float(s)) for tenant, (images, s) in row.tenants.items()}

    def save_reading(self, replica: str, counts: Mapping[str, Counts], *, now: datetime) -> None:
        """Remember what a replica had counted."""
        self._connection.execute(delete(REPLICA_READINGS).where(REPLICA_READINGS.c.replica == replica))
        self._connection.execute(insert(REPLICA_READINGS).values(replica=replica, read_time=now, tenants=dict(counts)))

    def forget_readings(self, *, but: Collection[str], before: datetime) -> None:
        """Forget how far replicas were read that are not among those named, and whose count last rose before that time."""
        old = select(REPLICA_READINGS.c.replica).where(REPLICA_READINGS.c.read_time < before)
        for replica in set(self._connection.scalars(old)) - set(but):
            self._connection.execute(delete(REPLICA_READINGS).where(REPLICA_READINGS.c.replica == replica))
