"""OpenTelemetry traces: where the time of a request or of a job went, across processes.

An extra: `pip install 'udair[traces]'`, and `OTEL_EXPORTER_OTLP_ENDPOINT` for every process; the other
`OTEL_*` variables work as the OpenTelemetry specification says. Without them nothing is traced, and
OpenTelemetry need not be installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from udair_platform.telemetry import logger

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_HEADER = "traceparent"
_log = logger("tracing")


class Tracing:
    """Spans of one process; without an endpoint to send them to, they cost nothing.

    Args:
        service: What the process is called in traces, unless `OTEL_SERVICE_NAME` says otherwise.
    """

    def __init__(self, service: str) -> None:
        self._provider = _provider(service) if any(os.environ.get(name) for name in _ENDPOINTS) else None
        self._tracer = self._provider.get_tracer("udair") if self._provider else None

    @property
    def enabled(self) -> bool:
        """Spans go somewhere."""
        return self._tracer is not None

    @contextmanager
    def span(self, name: str, parent: str | None = None, **attributes: str | int | float) -> Iterator[Any]:
        """Time what runs inside; an exception marks the span as failed.

        Args:
            name: Of the span.
            parent: W3C ``traceparent`` of a span in another process; None nests by context.
            attributes: Facts about it.
        """
        if self._tracer is None:
            yield _Nothing()
            return
        with self._tracer.start_as_current_span(name, _context(parent), attributes=attributes) as span:
            yield span

    def past(
        self, name: str, began: datetime, ended: datetime, parent: str | None = None, **attributes: str | int | float
    ) -> str | None:
        """A span of something that has ended already.

        Returns:
            Its ``traceparent``, for spans below it; None without an endpoint.
        """
        if self._tracer is None:
            return None
        # An empty context, not the current one: whatever runs at the moment did not cause it.
        context = _context(parent) if parent else _context("")
        span = self._tracer.start_span(name, context, attributes=attributes, start_time=_nanoseconds(began))
        span.end(_nanoseconds(ended))
        return _traceparent(span)

    def traceparent(self) -> str:
        """The current span for another process, as a W3C ``traceparent``; empty when there is none."""
        return (current() or "") if self.enabled else ""

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider:
            self._provider.shutdown()


def current() -> str | None:
    """The ``traceparent`` of the span that this code runs in; None where nothing is traced."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    return _traceparent(trace.get_current_span())


class _Nothing:
    """A span that goes nowhere."""

    def set_attribute(self, name: str, value: str | int | float) -> None:
        pass

    def is_recording(self) -> bool:
        return False


def _context(parent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if parent is None:
        return None
    return TraceContextTextMapPropagator().extract({_HEADER: parent}, context=Context())


def _traceparent(span: Any) -> str | None:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context=trace.set_span_in_context(span))
    return carrier.get(_HEADER)


def _nanoseconds(time: datetime) -> int:
    return round(time.timestamp() * 1e9)


def _provider(service: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _log.warning("no_traces", error=f"{error}; pip install 'udair[traces]' sends them.")
        return None
    named = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
