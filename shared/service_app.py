"""What the application of every service has: problems, health, metrics, assertion, telemetry."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.responses import Response
from starlette.types import Lifespan

from shared.assertions import GATEWAY, AssertionMiddleware, AssertionVerifier
from shared.direct import DirectRoute, DirectRoutes
from shared.health import health_router
from shared.keys import read_key
from shared.problems import install_problem_handlers
from shared.settings import ServiceName, Settings
from shared.telemetry import TelemetryMiddleware, metrics_response

#: FastAPI's own would say everything a second time, and looks for its collectors at each request.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}


async def get_metrics() -> Response:
    """This process's metrics, for the gateway to gather."""
    return metrics_response()


def create_service_app(
    service: ServiceName,
    description: str,
    lifespan: Lifespan[FastAPI] | None,
    verifier: AssertionVerifier,
    *,
    direct: Sequence[DirectRoute] = (),
    name_operation: Callable[[APIRoute], str] | None = None,
    metrics: Callable[..., Awaitable[Response]] = get_metrics,
) -> FastAPI:
    """An application without routes of its own yet, behind the internal assertion.

    Args:
        service: whose it is.
        description: one sentence for the API document.
        lifespan: what it opens; may add to `app.state.checks` what `/readyz` looks at.
        verifier: whose assertions it believes.
        direct: paths that are answered before the framework looks for their route.
        name_operation: the `operationId` of a route; unset: the service's and the function's name.
        metrics: answers `/metrics`.
    """
    app = FastAPI(
        title=service,
        description=description,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry=NO_TELEMETRY,
        generate_unique_id_function=name_operation or (lambda route: f"{service}_{route.name}"),
    )
    app.state.checks = {}
    install_problem_handlers(app)
    app.include_router(health_router(app.state.checks))
    app.add_api_route("/metrics", metrics, include_in_schema=False, response_model=None)
    if direct:
        app.add_middleware(DirectRoutes, routes=direct)
    app.add_middleware(AssertionMiddleware, verifier=verifier)
    app.add_middleware(TelemetryMiddleware, service=service)
    return app


def believe_gateway(service: ServiceName, settings: Settings) -> AssertionVerifier:
    """Believes the gateway, and nobody else, about who is calling `service`."""
    key = read_key(settings.keys_folder, f"assertion-{service}")
    return AssertionVerifier(service, {GATEWAY: key})
