"""How every process of the platform listens: uvicorn with httptools, trusting no proxy header."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from shared.connections import LeanProtocol
from shared.process import settle
from shared.settings import Settings


class SettlingServer(uvicorn.Server):
    """Prepares the process for many requests when everything it keeps is open."""

    async def main_loop(self) -> None:
        """Serve until a signal comes."""
        settle()
        await super().main_loop()


def serve(app: ASGIApp | Callable[..., ASGIApp], settings: Settings, *, port: int) -> None:
    """Run `app` until SIGTERM or SIGINT, then finish what has begun.

    httptools is the parser that refuses every request-smuggling probe; proxy headers are ignored
    because a service believes the gateway's assertion and nothing else.
    """
    end_with_status_zero()
    config = uvicorn.Config(
        app,
        host=settings.bind,
        port=settings.listen_port or port,
        http=LeanProtocol,
        loop="uvloop",
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.stop_grace_s),
        timeout_keep_alive=75,
    )
    # What cannot start ends the process with uvicorn's own status.
    SettlingServer(config).run()


class _End:
    """How this process ends when it is told to."""

    status = 0


def give_up() -> None:
    """Stop as if told to, but with status 1: what this process needs cannot be had."""
    _End.status = 1
    signal.raise_signal(signal.SIGTERM)


def end_with_status_zero() -> None:
    """Make a stop that was asked for a success.

    When all is finished, uvicorn raises the signal again that asked for it; by default that is
    the status of a process that was killed, and supervisors of containers take it for a failure.
    """

    def end(_: int, __: FrameType | None) -> None:
        sys.exit(_End.status)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
