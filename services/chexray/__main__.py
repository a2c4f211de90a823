"""`python -m services.chexray`: serve radiograph readings behind the gateway."""

from services.chexray.app import create_app, create_verifier, resources
from services.chexray.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    configure_telemetry("chexray", settings)
    app = create_app(resources(settings), create_verifier(settings))
    serve(app, settings, port=settings.service_port("chexray"))


if __name__ == "__main__":
    main()
