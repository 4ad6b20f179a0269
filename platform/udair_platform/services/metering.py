"""What was restored for each tenant in each calendar month: counted from the replicas' reports, and kept.

A replica counts from its beginning, and its report goes when it does; so what it counted since its report was read
last is added to the month that the report is of. What it restored after its last report is not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from udair_platform.services.change import Change
from udair_platform.state.repositories.served_months import Counts

_KEPT = timedelta(days=7)  # a report that did not arrive for so long may come again


def month_of(time: datetime) -> tuple[datetime, datetime]:
    """The calendar month (UTC) of a time: its beginning, and that of the next."""
    start = time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=31)).replace(day=1)


def name_of(month: datetime) -> str:
    """``2026-11``."""
    return f"{month:%Y-%m}"


def counts_of(report: Mapping[str, Any]) -> dict[str, Counts]:
    """What a report says was restored, by tenant. Raises ValueError, KeyError, TypeError or AttributeError."""
    told = report.get("tenants") or {}
    return {str(tenant): (int(one["images"]), float(one["forward_s"])) for tenant, one in told.items()}


def add(tx: Change, report: Mapping[str, Any]) -> None:
    """Add what is new in a replica's report to the month that it is of; the same report adds nothing twice."""
    replica, counts = str(report["replica"])[:128], counts_of(report)
    before = tx.state.served_months.read_until(replica)
    if counts == before:
        return
    written = min(tx.now, datetime.fromtimestamp(float(report["time"]), UTC))
    month = name_of(month_of(written)[0])
    for tenant, (images, forward_s) in counts.items():
        had = before.get(tenant, (0, 0.0))
        new = (max(0, images - had[0]), max(0.0, forward_s - had[1]))
        if any(new) and tx.state.tenants.exists(tenant):
            tx.state.served_months.add(tenant, month, new)
    tx.state.served_months.save_reading(replica, counts, now=tx.now)


def forget(tx: Change, there: Collection[str]) -> None:
    """Forget how far replicas were read that have no report any more, and have had none for a while."""
    tx.state.served_months.forget_readings(but=there, before=tx.now - _KEPT)
