"""Hears that another replica has changed the models, and keeps this one in step."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import structlog

from services.scancer.repository import CHANNEL
from shared.db import asyncpg_dsn
from shared.problems import Problem

log = structlog.get_logger(__name__)

_HEARTBEAT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0
_RECONNECT_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
#: What asyncpg raises when the database is away.
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@asynccontextmanager
async def following(
    database_url: str, refresh: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Call `refresh` after every change, and after every time when one may have been missed."""
    task = asyncio.create_task(_follow(database_url, refresh))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(database_url: str, refresh: Callable[[], Awaitable[None]]) -> None:
    failures = 0
    while True:
        try:
            connection = await asyncpg.connect(
                asyncpg_dsn(database_url), timeout=_CONNECT_TIMEOUT_S
            )
            try:
                changed = asyncio.Event()
                connection.add_termination_listener(lambda _, changed=changed: changed.set())
                await connection.add_listener(CHANNEL, lambda *_, changed=changed: changed.set())
                # LISTEN comes before the reading: what commits in between is heard.
                changed.set()
                failures = 0
                await _watch(connection, changed, refresh)
            finally:
                connection.terminate()
        except (*_LOST, Problem) as error:
            log.warning("models_not_followed", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT_DELAYS_S[min(failures, len(_RECONNECT_DELAYS_S) - 1)])
            failures += 1


async def _watch(
    connection: asyncpg.Connection, changed: asyncio.Event, refresh: Callable[[], Awaitable[None]]
) -> None:
    """Refresh whenever something changed, until the connection is lost, which raises."""
    while True:
        # Not `wait_for`, which in Python 3.11 may swallow the cancellation that ends this task.
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT_S):
                await changed.wait()
        await connection.fetchval("SELECT 1", timeout=_CONNECT_TIMEOUT_S)
        if changed.is_set():
            changed.clear()
            await refresh()
