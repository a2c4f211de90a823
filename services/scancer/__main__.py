"""`python -m services.scancer`: serve networks by name behind the gateway."""

from services.scancer.app import create_app, create_verifier, resources
from services.scancer.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    configure_telemetry("scancer", settings)
    app = create_app(resources(settings), create_verifier(settings))
    serve(app, settings, port=settings.service_port("scancer"))


if __name__ == "__main__":
    main()
