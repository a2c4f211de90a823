"""`python -m services.netra`: take fundus photographs in, and analyse them, behind the gateway."""

from services.netra.app import create_app, create_verifier, resources
from services.netra.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    configure_telemetry("netra", settings)
    app = create_app(resources(settings), create_verifier(settings))
    serve(app, settings, port=settings.service_port("netra"))


if __name__ == "__main__":
    main()
