"""Traces for an OpenTelemetry collector, when the address of one is set; else nothing happens."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.types import Scope

from shared.settings import Settings


def tracer_provider(service: str, exporter: SpanExporter) -> TracerProvider:
    """A provider that hands every finished span of `service` to `exporter`, in batches."""
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"vedette-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def configure_tracing(service: str, settings: Settings) -> None:
    """Send spans to the collector at `VEDETTE_OTLP_ENDPOINT` (OTLP over HTTP), if it is set."""
    if settings.otlp_endpoint is None:
        return
    # The exporter costs a tenth of a second and some memory, which most installations can keep.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint)
    trace.set_tracer_provider(tracer_provider(service, exporter))


def is_tracing() -> bool:
    """Whether anything in this process collects spans."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def request_span(tracer: trace.Tracer, scope: Scope) -> Iterator[Span]:
    """The span of one request, a child of the one that its `traceparent` names.

    It carries the method and the id of the request, and nothing that a client wrote.
    """
    parent = propagate.extract(dict(Headers(scope=scope).items()))
    with tracer.start_as_current_span(
        scope["method"], context=parent, kind=SpanKind.SERVER, record_exception=False
    ) as span:
        yield span


def describe_answer(span: Span, *, method: str, route: str, status: int, request_id: str) -> None:
    """Name the span for its route template and say how it ended."""
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "vedette.request_id": request_id,
        }
    )
    if status >= 500:
        span.set_status(StatusCode.ERROR)
