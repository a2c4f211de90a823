"""How every process of the platform listens: uvicorn with httptools, trusting no proxy header."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from shared.connections import LeanProtocol
from shared.process import settle
from shared.settings import Settings

#: Connections that are taken in one turn of the event loop.
_TAKEN_AT_ONCE: Final = 16
#: How old an answer's `Date` may be.
_TICK_S: Final = 1.0


class EagerServer(uvicorn.Server):
    """Takes many connections at once, and prepares its process when everything it keeps is open.

    libuv takes one connection for each listening handle in a turn of its loop. Where a turn is
    long because there is much to do, the last of a hundred clients that come together would wait
    for a hundred turns, so there are several handles of each listening socket.

    uvicorn looks ten times a second whether it is to stop, which interrupts whoever computes. Here
    it is told.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop; may be set in any thread and by a signal."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value and self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open everything, and listen."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        for listening in [each for server in self.servers for each in server.sockets]:
            for _ in range(_TAKEN_AT_ONCE - 1):
                self.servers.append(
                    await loop.create_server(
                        self._connect, sock=listening.dup(), backlog=self.config.backlog
                    )
                )

    def _connect(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as in uvicorn
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return protocol

    async def main_loop(self) -> None:
        """Serve until a signal comes."""
        settle()
        self._loop = asyncio.get_running_loop()
        try:
            # The first tick of each ten renews the `Date`.
            while not await self.on_tick(0):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._told.wait()
        finally:
            self._loop = None


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
    EagerServer(config).run()


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
