"""The gateway with its whole policy, one more row, and no database: nothing is ever revoked."""

from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette

from bench.gateway.gateway import NothingRevoked
from bench.serving.service import SERVICE
from gateway.app import State, create_app, open_gateway
from gateway.drain import Drain, create_server
from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.route import MODERN, Route, scopes_of
from gateway.settings import MB, GatewaySettings
from shared.telemetry import configure_logging

#: What a model service's row looks like: see chexray's.
ROW = Route(
    "/bench/**",
    SERVICE,
    MODERN,
    needs_credential=True,
    scopes=scopes_of(SERVICE),
    max_body_bytes=32 * MB,
    deadline_s=60,
)


def main() -> None:
    """Serve until SIGTERM."""
    settings = GatewaySettings()
    configure_logging("gateway", settings)
    drain = Drain()

    def lifespan(_: Starlette) -> AbstractAsyncContextManager[State]:
        return open_gateway(settings, drain, Policy((*TABLE, ROW)), NothingRevoked())

    create_server(create_app(lifespan), settings, drain).run()


if __name__ == "__main__":
    main()
