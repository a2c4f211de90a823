"""Hears of committed events from PostgreSQL, reads them, and hands them to the hub."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.domain import UserId
from services.fleet.realtime.hub import Hub
from services.fleet.repositories.events import (
    CHANNEL,
    FRAMES_CHANNEL,
    RIGHTS_CHANNEL,
    EventRepository,
)
from shared.db import asyncpg_dsn
from shared.problems import Problem

log = structlog.get_logger(__name__)

_BATCH: Final = 500
_HEARTBEAT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0
_RECONNECT_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_LOST: Final = (
    OSError,
    TimeoutError,
    Problem,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Listener:
    """Keeps the hub in step with the database."""

    def __init__(
        self,
        database_url: str,
        hub: Hub,
        sessions: async_sessionmaker[AsyncSession],
        *,
        on_rights: Callable[[UserId], None],
        on_frames: Callable[[str], None],
    ) -> None:
        self._database_url = database_url
        self._hub = hub
        self._sessions = sessions
        self._on_rights = on_rights
        self._on_frames = on_frames
        self._news = asyncio.Event()
        self.is_listening = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Begin with what is announced from here on, and go on until the block ends."""
        async with self._sessions.begin() as session:
            self._hub.newest = await EventRepository(session).newest()
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                connection = await asyncpg.connect(
                    asyncpg_dsn(self._database_url), timeout=_CONNECT_TIMEOUT_S
                )
                try:
                    await connection.add_listener(CHANNEL, self._on_event)
                    await connection.add_listener(RIGHTS_CHANNEL, self._on_rights_changed)
                    await connection.add_listener(FRAMES_CHANNEL, self._on_frame)
                    self.is_listening = True
                    failures = 0
                    # LISTEN comes before the reading: what commits in between is heard.
                    self._news.set()
                    self._look_at_everybody()
                    await self._pass_on(connection)
                finally:
                    self.is_listening = False
                    connection.terminate()
            except _LOST as error:
                log.warning("events_disconnected", error=type(error).__name__)
                await asyncio.sleep(_RECONNECT_DELAYS_S[min(failures, 4)])
                failures += 1

    async def _pass_on(self, connection: asyncpg.Connection) -> None:
        connection.add_termination_listener(lambda _: self._news.set())
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._news.wait()
            except TimeoutError:
                await connection.fetchval("SELECT 1", timeout=_CONNECT_TIMEOUT_S)
                continue
            self._news.clear()
            if connection.is_closed():
                raise asyncpg.InterfaceError("the connection was closed")
            await self._publish_new()

    async def _publish_new(self) -> None:
        while True:
            async with self._sessions.begin() as session:
                found = await EventRepository(session).after(self._hub.newest, _BATCH)
            await self._hub.publish(found)
            if len(found) < _BATCH:
                return

    def _look_at_everybody(self) -> None:
        """Changes of rights may have been announced while nobody listened."""
        for user_id in self._hub.users():
            self._on_rights(user_id)

    def _on_event(self, *_: object) -> None:
        self._news.set()

    def _on_rights_changed(self, *arguments: object) -> None:
        self._on_rights(UserId(UUID(str(arguments[-1]))))

    def _on_frame(self, *arguments: object) -> None:
        self._on_frames(str(arguments[-1]))
