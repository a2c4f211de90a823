"""What the application of every service has: problems, health, metrics, assertion, telemetry."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from shared.assertions import GATEWAY, AssertionMiddleware, AssertionVerifier
from shared.direct import DirectRoute, DirectRoutes
from shared.health import health_router
from shared.keys import read_key
from shared.problems import install_problem_handlers
from shared.settings import ServiceName, Settings
from shared.telemetry import TelemetryMiddleware, metrics_response

#: FastAPI's own would say everything a second time, and looks for its collectors at each request.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}


class ServiceApp(FastAPI):
    """A FastAPI application inside of what every service has around it.

    Middleware that FastAPI is told of runs inside two layers of its own, which cost a direct path
    more than its middleware does.
    """

    def __init__(self, around: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        """Make an application.

        Args:
            around: puts around an application whatever a request passes first.
            options: FastAPI's.
        """
        super().__init__(**options)
        self._outermost = around(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live through the application's lifespan."""
        scope["app"] = self
        await self._outermost(scope, receive, send)


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

    def around(app: ASGIApp) -> ASGIApp:
        if direct:
            app = DirectRoutes(app, direct)
        return TelemetryMiddleware(AssertionMiddleware(app, verifier), service)

    app = ServiceApp(
        around,
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
    return app


def believe_gateway(service: ServiceName, settings: Settings) -> AssertionVerifier:
    """Believes the gateway, and nobody else, about who is calling `service`."""
    key = read_key(settings.keys_folder, f"assertion-{service}")
    return AssertionVerifier(service, {GATEWAY: key})
