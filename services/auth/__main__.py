"""`python -m services.auth`."""

from services.auth.app import assertion_verifier, create_app, resources
from services.auth.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run auth until it is told to stop."""
    settings = Settings()
    configure_telemetry("auth", settings)
    app = create_app(resources(settings), assertion_verifier(settings))
    serve(app, settings, port=settings.service_port("auth"))


if __name__ == "__main__":
    main()
