"""What a replica tells the control plane through the store: blocked routes, drift, usage, minutes, shadows, its load."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from udair_jobs.storage import Storage, StorageError, open_storage
from udair_platform.documents.store_paths import PROFILE, report
from udair_platform.errors import PlatformError
from udair_platform.serving.model.fallback import VersionFallback
from udair_platform.serving.model.held import HeldAdapters
from udair_platform.serving.observation.metrics import ReplicaMetrics
from udair_platform.serving.observation.residuals import Residuals
from udair_platform.serving.observation.windows import TrafficWindows, format_drift
from udair_platform.serving.routing.router import Router
from udair_platform.telemetry import logger

_ANYWAY_S = 60.0  # a report that is older than some of these is of a replica that is gone
_FAREWELL_S = 2.0
_log = logger("serving")


class ReplicaReporter:
    """Writes one replica's report, and ends its drift windows.

    Args:
        replica: Id of the replica.
        base_digest: Of its base model.
        traffic, residuals, versions, held, router: What is reported on.
        metrics: Where drift goes, too.
        store: The platform's store.
        endpoint_url: S3 endpoint of the store that holds snapshots' profiles.
    """

    def __init__(
        self,
        replica: str,
        base_digest: str,
        traffic: TrafficWindows,
        residuals: Residuals,
        versions: VersionFallback,
        held: HeldAdapters,
        router: Router,
        metrics: ReplicaMetrics,
        store: Storage,
        endpoint_url: str | None,
    ) -> None:
        self._replica, self._base_digest = replica, base_digest
        self._traffic, self._versions, self._router, self._metrics = traffic, versions, router, metrics
        self._residuals, self._held = residuals, held
        self._store, self._endpoint_url = store, endpoint_url
        self._began = time.time()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def every(self, seconds: float, load: Callable[[], dict[str, float | None]]) -> None:
        """Report in a thread of its own from now on; `load` says each time what the replica is busy with."""
        self._thread = threading.Thread(target=self._run, args=(seconds, load), name="reports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Report for the last time, the minute under way with it; if the store answers at once."""
        self._stop.set()
        if self._thread is not None:
            farewell = threading.Thread(target=self._say_the_end, args=(self._thread,), daemon=True)
            farewell.start()
            farewell.join(_FAREWELL_S)

    def _say_the_end(self, writer: threading.Thread) -> None:
        writer.join()  # it may be writing
        with contextlib.suppress(StorageError):
            self._put(self.report(ended=True) | {"ended": True})

    def _put(self, document: dict[str, Any]) -> float:
        now = time.time()
        self._store.put(report(self._replica), json.dumps(document | {"time": now}).encode())
        return now

    def report(self, load: dict[str, float | None] | None = None, *, ended: bool = False) -> dict[str, Any]:
        """What is known now, JSON-ready."""
        domains: dict[str, dict[str, Any]] = self._traffic.report()
        for name, blocked in list(self._versions.blocked.items()):
            domains.setdefault(name, {})["blocked"] = vars(blocked)
        for name, residuals in self._residuals.report().items():
            domains.setdefault(name, {})["residuals"] = residuals
        for name, held in self._held.report(domains).items():
            domains.setdefault(name, {}).update(held)
        return {
            "schema_version": 1,
            "replica": self._replica,
            "began_time": round(self._began, 3),
            "base_digest": self._base_digest,
            "load": load or {},
            "domains": domains,
            "tenants": self._traffic.report_tenants(),
            "minutes": self._traffic.minutes.report(last=ended),
        }

    def close_windows(self) -> None:
        """End the drift windows that are due, compare them with their snapshots and say what drifted."""
        for name in self._traffic.due():
            record = self._traffic.close_window(name, self._reference(name))
            if record is None:
                continue
            self._metrics.window(name, record["divergence"], record["class_shares"], record["confirmed"])
            if record["crossed"]:
                _log.warning("drift", domain=name, confirmed=record["confirmed"], changes=format_drift(record))

    def _run(self, seconds: float, load: Callable[[], dict[str, float | None]]) -> None:
        last: dict[str, Any] = {}
        written = 0.0
        while not self._stop.wait(seconds):
            try:
                busy = load()
                self.close_windows()
                now = self.report(busy)
                if now != last or time.time() - written > _ANYWAY_S:
                    written, last = self._put(now), now
            except StorageError as error:
                _log.warning("report_not_written", error=str(error))
            except Exception as error:  # reports must not end because one failed
                _log.error("report_failed", exc_info=error)

    def _reference(self, name: str) -> dict[str, Any] | None:
        try:
            route = self._router.table().routes.get(name)
            if route is None or route.profile_uri is None:
                return None
            store = open_storage(route.profile_uri, endpoint_url=self._endpoint_url)
            document: dict[str, Any] = json.loads(store.get(PROFILE, max_bytes=16 * 2**20))
            return document
        except (StorageError, ValueError, PlatformError) as error:
            _log.warning("no_profile", domain=name, error=str(error))
            return None
