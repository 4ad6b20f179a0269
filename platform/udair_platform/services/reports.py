"""What replicas report of their domains becomes events: a blocked route, a domain that has drifted.

A report is a file per replica in the platform's store; each says the same thing until it changes, so
an event is recorded once, whoever reads the report and however often.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.entities.event import Event
from udair_platform.errors import NotFound, StoreDown
from udair_platform.services import schedules
from udair_platform.services.change import Change
from udair_platform.state.repositories import State
from udair_platform.telemetry import logger

ACTOR = "serving"
BLOCKED, DRIFTED = "route.blocked", "domain.drifted"
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

    def __init__(self, store: Storage, change: Callable[[str], AbstractContextManager[Change]]) -> None:
        self._store, self._change = store, change
        self._seen: dict[str, tuple[str, datetime]] = {}

    def collect(self, now: datetime) -> int:
        """Record what is new; the number of events.

        Raises:
            StoreDown: The store does not answer.
        """
        try:
            listed = {item.key: item.etag for item in self._store.list(store_paths.REPORTS)}
            recorded = 0
            for key, etag in listed.items():
                if key not in self._seen or self._seen[key][0] != etag:
                    recorded += self._record(key, now)
                    self._seen[key] = (etag, now)
                elif now - self._seen[key][1] > _FORGOTTEN:
                    self._store.delete(key)
            self._seen = {key: seen for key, seen in self._seen.items() if key in listed}
        except NoObject:
            return 0
        except StorageError as error:
            raise StoreDown(f"The replicas' reports cannot be read: {error}") from error
        return recorded

    def _record(self, key: str, now: datetime) -> int:
        try:
            report = json.loads(self._store.get(key, max_bytes=_MAX_BYTES))
            age = now - datetime.fromtimestamp(float(report["time"]), UTC)
            if age > _FORGOTTEN:
                self._store.delete(key)
            if age > STALE:  # its replica is gone: what it said may not be so any more
                return 0
            domains = report["domains"]
            notes = [(str(name), kind, data) for name, document in domains.items() for kind, data in _notes(document)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("report_unreadable", key=key, error=str(error))
            return 0
        if not notes:
            return 0
        recorded = 0
        with self._change(ACTOR) as tx:
            tx = tx.because("report")
            for name, kind, data in notes:
                domain = _domain(tx.state, name)
                if domain is None:
                    continue
                known = tx.state.events.latest(domain.tenant, domain.id, kind, size=_LOOKED_BACK)
                if any(_same(event, data, now) for event in known):
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
    if drift and drift.get("confirmed"):
        kept = ("images", "divergence", "threshold", "class_shares", "reference_class_shares", "ended_time")
        notes.append((DRIFTED, {name: drift.get(name) for name in kept}))
    return notes


def _same(event: Event, data: dict[str, Any], now: datetime) -> bool:
    # A version is blocked once, whichever replica says so; a drift that goes on is told once a day.
    if "version" in data:
        return bool(event.data.get("version") == data["version"])
    return now - event.time < _DRIFT_AGAIN


def _domain(state: State, name: str) -> Domain | None:
    tenant, _, domain = name.partition("/")
    try:
        return state.domains.get(tenant, domain)
    except NotFound:
        return None
