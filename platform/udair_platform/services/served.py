"""What was served over time: minutes out of the replicas' reports, hours of what is older, and curves for whoever asks.

A replica numbers its minutes, and reports each for a while once it is over. It is added under the lease, with the number
of the last one that was, so that what is reported twice counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from udair_platform.contract.usage import DomainMetrics, Period, ServedFigures, ServedPoint, ServedVersion
from udair_platform.entities.domain import Domain
from udair_platform.entities.latency import quantile_s, together
from udair_platform.entities.served import HOUR_S, MINUTE_S, Served
from udair_platform.services.change import Change
from udair_platform.state.repositories import State

BY_MINUTE = timedelta(days=2)  # what is older is kept by the hour
_AT_ONCE = 5000  # rows that one transaction puts together
_MINUTE = timedelta(seconds=MINUTE_S)
# How long each period is, and a step of it: few enough to be drawn, and no hour is cut.
_PERIODS: Mapping[Period, tuple[timedelta, int]] = {
    "hour": (timedelta(hours=1), MINUTE_S),
    "day": (timedelta(days=1), 15 * MINUTE_S),
    "week": (timedelta(weeks=1), 2 * HOUR_S),
    "month": (timedelta(weeks=4), 8 * HOUR_S),
}


@dataclass(frozen=True)
class ReportedMinutes:
    """The minutes of one replica's report.

    Attributes:
        last: Number of the newest.
        written_time: When the report was written, by the replica's clock.
        rows: With the number of the minute and the domain's name, whose id is not known yet.
    """

    replica: str
    last: int
    written_time: datetime
    rows: Sequence[tuple[int, str, Served]]

    @classmethod
    def parse(cls, report: Mapping[str, Any]) -> ReportedMinutes:
        """Of a report as it was written. Raises ValueError, KeyError, TypeError, AttributeError where it is none."""
        rows = [
            (int(minute["number"]), str(one["name"]).partition("/")[2], _parsed(one, float(minute["begin_time"])))
            for minute in report.get("minutes", ())
            for one in minute["served"]
        ]
        last = max((number for number, _, _ in rows), default=0)
        written = datetime.fromtimestamp(float(report["time"]), UTC)
        return cls(str(report.get("replica", ""))[:128], last, written, rows)


def take(tx: Change, reported: ReportedMinutes, heard_since: datetime | None) -> None:
    """Add the minutes of a report that were not added before.

    Args:
        heard_since: When the replica's report was last looked at, and was another: this one was written after that.
    """
    state, before = tx.state, tx.state.served.taken(reported.replica)
    if reported.last <= before:
        return
    late = _lateness(reported.written_time, heard_since, tx.now)
    newest = _floor(tx.now, MINUTE_S) - _MINUTE  # a minute that is over is not one to come, whatever its clock says
    new = [(name, row) for number, name, row in reported.rows if number > before]
    names: dict[str, set[str]] = {}
    for name, row in new:
        names.setdefault(row.tenant, set()).add(name)
    ids = {tenant: state.domains.ids(tenant, of_tenant) for tenant, of_tenant in names.items()}
    rows = (
        replace(row, domain_id=ids[row.tenant][name], begin_time=min(newest, _nearest(row.begin_time + late)))
        for name, row in new
        if name in ids[row.tenant]
    )
    state.served.add(_one_each(rows))
    state.served.take(reported.replica, reported.last, now=tx.now)


def thin(state: State, now: datetime, *, weeks: int) -> bool:
    """Put a part of the old minutes together to hours, and forget the oldest hours; whether there is more to do."""
    minutes = state.served.before(_floor(now - BY_MINUTE, HOUR_S), span_s=MINUTE_S, size=_AT_ONCE)
    if minutes:
        hours = (replace(row, span_s=HOUR_S, begin_time=_floor(row.begin_time, HOUR_S)) for row in minutes)
        state.served.add(_one_each(hours))
        state.served.remove(minutes)
    state.served.forget_before(now - timedelta(weeks=weeks), span_s=HOUR_S)
    state.served.forget_replicas(now - BY_MINUTE)
    return len(minutes) == _AT_ONCE


def of_domain(state: State, domain: Domain, period: Period, now: datetime) -> DomainMetrics:
    """What was served of a domain over the period that ended a minute ago: what is newer may not be reported yet."""
    length, step_s = _PERIODS[period]
    until = _floor(now - _MINUTE, MINUTE_S)
    since = _floor(until - length, step_s)
    rows = state.served.of_domain(domain.tenant, domain.id, since=since, until=until)
    steps: dict[datetime, list[Served]] = {}
    for row in rows:
        steps.setdefault(_floor(row.begin_time, step_s), []).append(row)
    points, begin = [], since
    while begin < until:
        figures = _figures(steps.get(begin, ()))
        seconds = min(timedelta(seconds=step_s), until - begin).total_seconds()
        rate = round(figures.images / seconds, 4)
        points.append(ServedPoint(**figures.model_dump(), begin_time=begin, images_per_s=rate))
        begin += timedelta(seconds=step_s)
    versions = [
        ServedVersion(**_figures([row for row in rows if row.version == number]).model_dump(), version=number)
        for number in sorted({row.version for row in rows})
    ]
    return DomainMetrics(
        period=period,
        from_time=since,
        to_time=until,
        step_s=step_s,
        total=_figures(rows),
        versions=versions,
        points=points,
    )


def _parsed(one: Mapping[str, Any], begin: float) -> Served:
    latency = {str(int(at)): int(count) for at, count in one["latency"].items()}
    counts = (int(one["version"]), int(one["images"]), int(one["errors"]))
    tenant = str(one["name"]).partition("/")[0]
    return Served("", tenant, MINUTE_S, datetime.fromtimestamp(begin, UTC), *counts, latency)


def _lateness(written: datetime, since: datetime | None, now: datetime) -> timedelta:
    """What is to be added to a replica's clock: its report was written between two looks at it, whatever it says."""
    meant = min(written, now) if since is None else min(max(written, since), now)
    return meant - written


def _one_each(rows: Iterable[Served]) -> list[Served]:
    """Those of one key as one."""
    found: dict[Any, Served] = {}
    for row in rows:
        one = found.get(row.key)
        found[row.key] = row if one is None else one.plus(row)
    return list(found.values())


def _figures(rows: Iterable[Served]) -> ServedFigures:
    rows = list(rows)
    latency = together(row.latency for row in rows)
    p50_s, p95_s, p99_s = (
        None if (value := quantile_s(latency, share)) is None else round(value, 5) for share in (0.5, 0.95, 0.99)
    )
    images, errors = (sum(getattr(row, name) for row in rows) for name in ("images", "errors"))
    return ServedFigures(images=images, errors=errors, p50_s=p50_s, p95_s=p95_s, p99_s=p99_s)


def _nearest(time: datetime) -> datetime:
    return _floor(time + _MINUTE / 2, MINUTE_S)


def _floor(time: datetime, step_s: int) -> datetime:
    seconds = int(time.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step_s, UTC)
