"""Traces: one span per request, joined to the caller's, empty of what clients wrote."""

import httpx
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.settings import Settings
from shared.telemetry import TelemetryMiddleware
from shared.tracing import configure_tracing, tracer_provider

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


async def test_a_request_is_a_child_of_its_caller_and_named_by_its_route() -> None:
    exporter = InMemorySpanExporter()
    tracers = tracer_provider("test", exporter)
    app = FastAPI()

    @app.get("/studies/{study_id}")
    async def study(study_id: str) -> str:
        raise RuntimeError(study_id)

    app.add_middleware(TelemetryMiddleware, service="test", tracers=tracers)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://service"
    ) as client:
        await client.get(
            "/studies/doe-jane?token=hunter2",
            headers={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "X-Request-ID": "r-1"},
        )
    tracers.force_flush()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /studies/{study_id}"
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert span.attributes is not None
    assert span.attributes["vedette.request_id"] == "r-1"
    assert span.status.status_code is StatusCode.ERROR
    assert "jane" not in span.to_json()
    assert "hunter2" not in span.to_json()
    tracers.shutdown()


def test_without_an_endpoint_nothing_is_configured() -> None:
    before = trace.get_tracer_provider()
    configure_tracing("test", Settings(otlp_endpoint=None))
    assert trace.get_tracer_provider() is before
