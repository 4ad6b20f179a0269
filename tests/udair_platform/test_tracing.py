"""One trace from the request that wants a job to the phases of its last attempt."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from udair_platform.http import tracing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Everything that is traced from now on, in this process' memory."""
    exporter = InMemorySpanExporter()

    def provider(service: str) -> TracerProvider:
        made = TracerProvider(resource=Resource.create({"service.name": service}))
        made.add_span_processor(SimpleSpanProcessor(exporter))
        return made

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "_provider", provider)
    return exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


def submit(plane, **headers: str) -> str:
    reply = plane.client.post("/v1/domains/foggy-cams/jobs", json={}, headers=headers)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def test_a_job_is_one_trace_from_its_request_to_its_phases(exported, make_plane) -> None:
    plane = make_plane()
    plane.domain()
    job = submit(plane, traceparent=f"00-{TRACE}-{CALLER}-01")
    plane.clock.forward(3)
    plane.settle(job)

    spans = by_name(exported)

    request = spans["POST /v1/domains/{domain}/jobs"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert f"{request.parent.span_id:016x}" == CALLER
    chain = [request, spans["job"], spans["attempt 1"], spans["adapting"]]
    assert [below.parent.span_id for below in chain[1:]] == [above.context.span_id for above in chain[:-1]]
    assert request.attributes["http.response.status_code"] == 202
    assert spans["job"].attributes["job"] == job
    assert spans["job"].attributes["state"] == "SUCCEEDED"
    assert [span.resource.attributes["service.name"] for span in chain] == ["udair-api"] + ["udair-scheduler"] * 3
    assert not any("foggy" in str(value) for span in spans.values() for value in (span.name, *span.attributes.values()))
    for above, below in itertools.pairwise(chain[1:]):
        assert above.start_time <= below.start_time <= below.end_time <= above.end_time


def test_every_attempt_of_a_job_that_failed_is_in_its_trace(exported, make_plane) -> None:
    plane = make_plane(max_attempts=2)
    plane.domain()
    plane.launcher.script = ["NODE_LOST", "NODE_LOST"]
    job = submit(plane)
    plane.settle(job)

    spans = by_name(exported)

    assert spans["job"].attributes["state"] == "FAILED"
    assert spans["job"].attributes["reason"] == "NODE_LOST"
    assert {"attempt 1", "attempt 2"} <= set(spans)
    assert spans["attempt 2"].attributes["submission_id"] == f"{job}-2"
    assert spans["attempt 1"].end_time <= spans["attempt 2"].start_time


def test_without_an_endpoint_nothing_is_kept_of_a_callers_trace(make_plane, monkeypatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    plane = make_plane()
    plane.domain()
    job = submit(plane, traceparent=f"00-{TRACE}-{CALLER}-01")
    with plane.database.read() as state:
        assert [found.trace for found in state.jobs.every() if found.id == job] == [None]


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_opentelemetry_need_not_be_installed(endpoint: str) -> None:
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import udair_platform.scheduler.reconciler
from udair_platform.http.tracing import Tracing, current
tracing = Tracing("x")
assert not tracing.enabled
with tracing.span("a") as span:
    span.set_attribute("b", 1)
    assert current() is None and tracing.traceparent() == ""
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert ("no_traces" in done.stderr) == bool(endpoint)
