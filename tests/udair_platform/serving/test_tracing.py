"""One trace from the caller to the backbone, sent to a real collector over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from data_plane import Plane, bearer, make_image
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from udair.data.images import encode_png
from udair_platform.http.tracing import Tracing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch) -> Iterator[list[tuple[str, Span]]]:
    """What the collector received: service and span."""
    received: list[tuple[str, Span]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                facts = {a.key: a.value.string_value for a in resource.resource.attributes}
                received.extend((facts["service.name"], s) for scope in resource.scope_spans for s in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.handle_error = lambda *args: None  # an exporter that is closed resets its connection
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield received
    server.shutdown()


def _post(plane: Plane, body: bytes, trace: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(plane.app), base_url="http://here") as client:
            headers = bearer() | {"traceparent": trace}
            return await client.post("/v1/domains/plain:restore", content=body, headers=headers)

    return asyncio.run(ask())


def _arrived(received: list[tuple[str, Span]], names: set[str]) -> dict[str, tuple[str, Span]]:
    for _ in range(400):
        found = {span.name: (service, span) for service, span in list(received)}
        if names <= set(found):
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"expected {names}, got {[span.name for _, span in received]}")


def test_a_request_is_one_trace_across_ingress_and_backbone(spans, tmp_path):
    plane = Plane(tmp_path)
    assert _post(plane, encode_png(make_image()), f"00-{TRACE}-{CALLER}-01").status_code == 200
    found = _arrived(spans, {"restore", "decode", "infer", "encode", "backbone"})
    plane.backbone.shutdown()
    assert {span.trace_id.hex() for _, span in found.values()} == {TRACE}
    assert found["restore"][1].parent_span_id.hex() == CALLER
    for name, parent in (("decode", "restore"), ("infer", "restore"), ("encode", "restore"), ("backbone", "infer")):
        assert found[name][1].parent_span_id == found[parent][1].span_id, name
    assert {name: service for name, (service, _) in found.items()} == {
        "restore": "udair-ingress",
        "decode": "udair-ingress",
        "infer": "udair-ingress",
        "encode": "udair-ingress",
        "backbone": "udair-backbone",
    }
    facts = {a.key: a.value for a in found["backbone"][1].attributes}
    assert facts["domain"].string_value == "acme/plain"
    assert facts["forward_s"].double_value > 0


def test_a_request_that_is_refused_is_a_failed_span_and_a_bad_parent_is_ignored(spans, tmp_path):
    plane = Plane(tmp_path)
    assert _post(plane, b"no image", "nonsense").status_code == 422
    service, span = _arrived(spans, {"restore"})["restore"]
    plane.backbone.shutdown()
    assert service == "udair-ingress"
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert not span.parent_span_id


def test_without_an_endpoint_nothing_is_traced(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracing = Tracing("udair-ingress")
    with tracing.span("restore") as span:
        assert not span.is_recording()
        assert tracing.traceparent() == ""
