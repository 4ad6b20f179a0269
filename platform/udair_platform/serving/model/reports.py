"""What a replica tells the control plane through the store: blocked routes, drift, usage, shadows, its load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from udair_jobs.storage import Storage, StorageError, open_storage
from udair_platform.documents.store_paths import PROFILE, report
from udair_platform.errors import PlatformError
from udair_platform.serving.model.fallback import VersionFallback
from udair_platform.serving.observation.metrics import ReplicaMetrics
from udair_platform.serving.observation.windows import TrafficWindows, format_drift
from udair_platform.serving.routing.table import Router
from udair_platform.telemetry import logger

_ANYWAY_S = 300.0  # a report that is older than some of these is of a replica that is gone
_log = logger("serving")


class ReplicaReporter:
    """Writes one replica's report, and ends its drift windows.

    Args:
        replica: Id of the replica.
        base_digest: Of its base model.
        traffic, versions, router: What is reported on.
        metrics: Where drift goes, too.
        store: The platform's store.
        endpoint_url: S3 endpoint of the store that holds snapshots' profiles.
    """

    def __init__(
        self,
        replica: str,
        base_digest: str,
        traffic: TrafficWindows,
        versions: VersionFallback,
        router: Router,
        metrics: ReplicaMetrics,
        store: Storage,
        endpoint_url: str | None,
    ) -> None:
        self._replica, self._base_digest = replica, base_digest
        self._traffic, self._versions, self._router, self._metrics = traffic, versions, router, metrics
        self._store, self._endpoint_url = store, endpoint_url
        self._began = time.time()
        self._stop = threading.Event()

    def every(self, seconds: float, load: Callable[[], dict[str, float | None]]) -> None:
        """Report in a thread of its own from now on; `load` says each time what the replica is busy with."""
        threading.Thread(target=self._run, args=(seconds, load), name="reports", daemon=True).start()

    def close(self) -> None:
        """Report no more."""
        self._stop.set()

    def report(self, load: dict[str, float | None] | None = None) -> dict[str, Any]:
        """What is known now, JSON-ready."""
        domains: dict[str, dict[str, Any]] = self._traffic.report()
        for name, blocked in list(self._versions.blocked.items()):
            domains.setdefault(name, {})["blocked"] = vars(blocked)
        return {
            "schema_version": 1,
            "replica": self._replica,
            "began_time": round(self._began, 3),
            "base_digest": self._base_digest,
            "load": load or {},
            "domains": domains,
        }

    def close_windows(self, now: float | None = None) -> None:
        """End the drift windows that are due, compare them with their snapshots and say what drifted."""
        now = time.time() if now is None else now
        for name in self._traffic.due(now):
            record = self._traffic.close_window(name, self._reference(name), now)
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
                    written = time.time()
                    self._store.put(report(self._replica), json.dumps(now | {"time": written}).encode())
                    last = now
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
