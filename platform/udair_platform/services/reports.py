"""What replicas report of their domains becomes events, and minutes of what was served.

A report is a file per replica in the platform's store; each says the same thing until it changes, so
an event is recorded once, and a minute added once, whoever reads the report and however often.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.entities.event import Event
from udair_platform.errors import NotFound, StoreDown
from udair_platform.services import canaries, metering, schedules, served
from udair_platform.services.change import Change
from udair_platform.services.served import ReportedMinutes
from udair_platform.state.repositories import State
from udair_platform.state.repositories.served_months import Counts
from udair_platform.telemetry import logger

ACTOR = "serving"
BLOCKED, UNHELD, DRIFTED = "route.blocked", "route.unheld", "domain.drifted"
_MAX_BYTES = 64 * 2**20
_LOOKED_BACK = 20
STALE, _FORGOTTEN, _DRIFT_AGAIN = timedelta(minutes=15), timedelta(days=1), timedelta(days=1)
_log = logger("reports")


class ReportCollector:
    """Reads the replicas' reports; those that have not changed since are not read again.

    Args:
        store: The platform's store.
        change: A transaction in which an actor changes something.
    """

    def __init__(
        self, store: Storage, change: Callable[[str], AbstractContextManager[Change]], clock: Callable[[], datetime]
    ) -> None:
        self._store, self._change, self._clock = store, change, clock
        self._seen: dict[str, tuple[str, datetime]] = {}
        self._canaries = canaries.CanaryJudge()
        self._counted: dict[str, dict[str, Counts]] = {}  # by report, as it is in the database
        self._taken: dict[str, int] = {}
        self._listed: datetime | None = None

    def collect(self) -> int:
        """Record what is new; the number of events.

        Raises:
            StoreDown: The store does not answer.
        """
        now = self._clock()
        try:
            listed = {item.key: item.etag for item in self._store.list(store_paths.REPORTS)}
            recorded = 0
            for key, etag in listed.items():
                if key not in self._seen or self._seen[key][0] != etag:
                    recorded += self._record(key)
                    self._seen[key] = (etag, now)
                elif now - self._seen[key][1] > _FORGOTTEN:
                    self._store.delete(key)
            self._seen = {key: seen for key, seen in self._seen.items() if key in listed}
            self._forget(listed)
            self._canaries.keep(listed)
            recorded += self._end_canaries()
            self._taken = {key: number for key, number in self._taken.items() if key in listed}
            self._listed = now
        except NoObject:
            return 0
        except StorageError as error:
            raise StoreDown(f"The replicas' reports cannot be read: {error}") from error
        return recorded

    def _record(self, key: str) -> int:
        now = self._clock()
        try:
            report = json.loads(self._store.get(key, max_bytes=_MAX_BYTES))
            self._count(key, report)
            minutes = ReportedMinutes.parse(report)
            # What a replica that is gone said may not be so any more; what it served was served.
            domains = report["domains"] if now - minutes.written_time <= STALE else {}
            if domains:
                self._canaries.note(key, domains)
            notes = [(str(name), kind, data) for name, document in domains.items() for kind, data in _notes(document)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("report_unreadable", key=key, error=str(error))
            return 0
        recorded = 0
        if notes or minutes.last > self._taken.get(key, 0):
            with self._change(ACTOR) as tx:
                served.take(tx, minutes, self._listed)
                recorded = _note(tx.because("report"), notes)
            self._taken[key] = minutes.last
        if report.get("ended") or now - minutes.written_time > _FORGOTTEN:
            self._store.delete(key)
        return recorded

    def _end_canaries(self) -> int:
        ended = 0
        for finding in self._canaries.findings():
            with self._change(ACTOR) as tx:
                ended += canaries.roll_back(tx, finding)
        return ended

    def _count(self, key: str, report: dict[str, Any]) -> None:
        counts = metering.counts_of(report)
        if counts != self._counted.get(key, {}):
            with self._change(ACTOR) as tx:
                metering.add(tx, report)
            self._counted[key] = counts

    def _forget(self, listed: Collection[str]) -> None:
        gone = [key for key in self._counted if key not in listed]
        if gone:
            with self._change(ACTOR) as tx:
                metering.forget(tx, {PurePosixPath(key).stem for key in listed})
        for key in gone:
            del self._counted[key]


def _note(tx: Change, notes: Sequence[tuple[str, str, dict[str, Any]]]) -> int:
    """Record those that are new; how many there are."""
    recorded = 0
    for name, kind, data in notes:
        domain = _domain(tx.state, name)
        if domain is None:
            continue
        known = tx.state.events.latest(domain.tenant, domain.id, kind, size=_LOOKED_BACK)
        if any(_same(event, data, tx) for event in known):
            continue
        tx.record(domain, kind, data, noun="route")
        recorded += 1
        if kind == DRIFTED:
            schedules.run_on_drift(tx, domain)
    return recorded


def _notes(data: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What of a domain's report is worth an event."""
    notes = []
    blocked, drift = data.get("blocked"), data.get("drift")
    if blocked:
        notes.append((BLOCKED, {name: blocked[name] for name in ("version", "serving", "reason")}))
    if data.get("unheld"):
        notes.append((UNHELD, {"reason": str(data["unheld"])[:500]}))
    if drift and drift.get("confirmed"):
        kept = ("images", "divergence", "threshold", "class_shares", "reference_class_shares", "ended_time")
        notes.append((DRIFTED, {name: drift.get(name) for name in kept}))
    return notes


def _same(event: Event, data: dict[str, Any], tx: Change) -> bool:
    # A version is blocked once, whichever replica says so; what goes on otherwise is told once a day.
    if "version" in data:
        return bool(event.data.get("version") == data["version"])
    return tx.now - event.time < _DRIFT_AGAIN


def _domain(state: State, name: str) -> Domain | None:
    tenant, _, domain = name.partition("/")
    try:
        return state.domains.get(tenant, domain)
    except NotFound:
        return None
