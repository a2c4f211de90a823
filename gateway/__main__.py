"""Runs the gateway: `python -m gateway`."""

from gateway.app import create_app, resources
from gateway.drain import Drain, create_server
from gateway.settings import GatewaySettings
from shared.server import end_with_status_zero
from shared.telemetry import configure_telemetry


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = GatewaySettings()
    configure_telemetry("gateway", settings)
    end_with_status_zero()
    drain = Drain()
    create_server(create_app(resources(settings, drain)), settings, drain).run()


if __name__ == "__main__":
    main()
