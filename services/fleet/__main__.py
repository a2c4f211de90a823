"""`python -m services.fleet`: serve trucks behind the gateway."""

from services.fleet.app import create_app, create_verifier, resources
from services.fleet.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    configure_telemetry("fleet", settings)
    app = create_app(resources(settings), create_verifier(settings))
    serve(app, settings, port=settings.service_port("fleet"))


if __name__ == "__main__":
    main()
