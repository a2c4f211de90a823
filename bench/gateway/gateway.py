"""The gateway as `python -m gateway` runs it, but without a database: nothing is ever revoked."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette

from gateway.app import State, create_app, open_gateway
from gateway.drain import Drain, create_server
from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.settings import GatewaySettings
from shared.assertions import Refusal
from shared.revocations import Revocation
from shared.telemetry import configure_logging
from shared.tokens import Claims


class NothingRevoked:
    """Looks for a token, its key, its session and its user, as often as the real one does."""

    is_fresh = True

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset({"some-other-token"})

    def refusal(self, claims: Claims) -> Refusal | None:
        """None, after four look-ups."""
        values = self._values
        if claims.token_id in values or claims.key_id in values or claims.session_id in values:
            return Refusal.REVOKED
        return Refusal.INACTIVE if claims.subject in values else None

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Nobody is ever told anything."""

    def on_keys_changed(self, callback: Callable[[], None]) -> None:
        """Nor are the keys ever changed."""


def main() -> None:
    """Serve until SIGTERM."""
    settings = GatewaySettings()
    configure_logging("gateway", settings)
    drain = Drain()

    def lifespan(_: Starlette) -> AbstractAsyncContextManager[State]:
        return open_gateway(settings, drain, Policy(TABLE), NothingRevoked())

    create_server(create_app(lifespan), settings, drain).run()


if __name__ == "__main__":
    main()
