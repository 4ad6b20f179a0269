"""OpenTelemetry traces of the data plane: where one request's time went, across its processes.

An extra: `pip install 'udair[traces]'`, and `OTEL_EXPORTER_OTLP_ENDPOINT` on every node; the other
`OTEL_*` variables work as the OpenTelemetry specification says. Without them nothing is traced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from udair_platform.telemetry import logger

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_HEADER = "traceparent"
_context = TraceContextTextMapPropagator()
_log = logger("serving")


class Tracing:
    """Spans of one process; without an endpoint to send them to, they cost nothing.

    Args:
        service: What the process is called in traces, unless `OTEL_SERVICE_NAME` says otherwise.
    """

    def __init__(self, service: str) -> None:
        self._provider = _provider(service) if any(os.environ.get(name) for name in _ENDPOINTS) else None
        self._tracer = self._provider.get_tracer("udair") if self._provider else trace.NoOpTracer()

    @contextmanager
    def span(self, name: str, parent: str | None = None, **attributes: str | int | float) -> Iterator[trace.Span]:
        """Time what runs inside; an exception marks the span as failed.

        Args:
            name: Of the span.
            parent: W3C ``traceparent`` of a span in another process; None nests by context.
            attributes: Facts about it.
        """
        context = _context.extract({_HEADER: parent}) if parent else None
        with self._tracer.start_as_current_span(name, context, attributes=attributes) as span:
            yield span

    def traceparent(self) -> str:
        """The current span for another process, as a W3C ``traceparent``; empty when there is none."""
        carrier: dict[str, str] = {}
        _context.inject(carrier)
        return carrier.get(_HEADER, "")

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider:
            self._provider.shutdown()


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
