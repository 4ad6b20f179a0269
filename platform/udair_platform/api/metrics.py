"""What Prometheus is told: requests by route, and jobs and events as the database has them when it asks.

Labels are route templates, methods and statuses: their number does not grow with tenants or domains.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udair_platform.entities.job import JobState
from udair_platform.entities.prices import Prices
from udair_platform.services import budgets
from udair_platform.services.gate import STATE_AFTER
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The figures of one application, in a registry of its own.

    Args:
        database: Asked for jobs and events at each scrape.
        clock: Now, in UTC.
        prices: What budgets of money are counted by.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime], prices: Prices = Prices()) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("udair_api_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "udair_api_request_seconds",
            "From a request's first byte to its answer's last.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_State(database, clock, prices))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format.

        Raises:
            StateUnavailable: The database does not answer.
        """
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, database: Database, clock: Callable[[], datetime], prices: Prices) -> None:
        self._database, self._clock, self._prices = database, clock, prices

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # nothing is asked of the database when the collector is registered

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        now = self._clock()
        with self._database.read() as state:
            counts, oldest = state.jobs.counts(ALL_TENANTS), state.jobs.oldest_unfinished(ALL_TENANTS)
            events, verdicts = state.events.newest(ALL_TENANTS), state.versions.verdicts(ALL_TENANTS)
            held = state.leases.held("reconciler")
            bounded = budgets.Ledger(state, now, self._prices).all_of()
        jobs = GaugeMetricFamily("udair_jobs", "Jobs by state.", labels=["state"])
        for job_state in JobState:
            jobs.add_metric([job_state.value], counts.get(job_state, 0))
        yield jobs
        age = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
        yield GaugeMetricFamily("udair_oldest_unfinished_job_seconds", "Age of the oldest job that is not done.", age)
        yield CounterMetricFamily("udair_events", "Number of the newest event.", events)
        judged = CounterMetricFamily("udair_gate_verdicts", "Versions by the gate's verdict.", labels=["verdict"])
        for verdict in STATE_AFTER:
            judged.add_metric([verdict], verdicts.get(verdict, 0))
        yield judged
        limits = collections.Counter(
            (item.item, item.state) for _, found in bounded for item in found.items if item.limit
        )
        told = GaugeMetricFamily(
            "udair_budget_limits", "Limits of tenants' budgets this month.", labels=["item", "state"]
        )
        for item in budgets.ITEMS:
            for standing in budgets.STANDINGS:
                told.add_metric([item, standing], limits[item, standing])
        yield told
        silent = max(0.0, (now - held[1]).total_seconds()) if held else 0.0
        yield GaugeMetricFamily(
            "udair_reconciler_silent_seconds", "Since the reconciler's lease ran out; 0 while one acts.", silent
        )


class Measured:
    """Outermost layer of the application: every answer is counted, whoever gave it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._metrics.observe(scope["method"], _template(scope), status, time.perf_counter() - began)


def _template(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "unknown")
