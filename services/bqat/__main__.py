"""`python -m services.bqat`: serve biometric quality behind the gateway."""

from services.bqat.app import create_app, create_verifier, resources
from services.bqat.settings import Settings
from shared.server import serve
from shared.telemetry import configure_telemetry


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    configure_telemetry("bqat", settings)
    app = create_app(resources(settings), create_verifier(settings))
    serve(app, settings, port=settings.service_port("bqat"))


if __name__ == "__main__":
    main()
