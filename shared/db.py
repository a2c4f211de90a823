"""The way to PostgreSQL: engine, sessions, and one transaction per request."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final

import asyncpg
import structlog
from fastapi import Depends, Request
from sqlalchemy import ExceptionContext, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from shared.problems import Unavailable

log = structlog.get_logger(__name__)


def asyncpg_dsn(database_url: str) -> str:
    """The address as asyncpg takes it, with every option of libpq in it (`sslmode`, …)."""
    _, separator, rest = database_url.partition("://")
    if not separator:
        raise ValueError("a database's address begins with postgresql://")
    return f"postgresql://{rest}"


class DatabaseAway(Unavailable):
    """The database does not answer; what was asked has not been acknowledged."""

    slug, title = "database-away", "Database unavailable"


# PostgreSQL's words for going down, coming up, or having no connection left (SQLSTATE).
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "53300", "08000", "08003", "08006"})

#: The last is raised before anything is sent, where a server has said that it ends and its
#: connection has not ended yet.
_CUT = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_WENT_AWAY = "The database went away in the middle of this request."

#: How long a `row_fetcher` keeps what it borrows, before the pool looks at it again.
_BORROWED_S: Final = 60.0


def create_engine(database_url: str, *, pool_size: int = 8) -> AsyncEngine:
    """An engine that survives a database restart, and says `DatabaseAway` meanwhile.

    Args:
        database_url: `postgresql://user@host/name`, or `…@/name?host=<socket folder>`.
        pool_size: connections this process keeps; as many again for a moment.
    """
    dsn = asyncpg_dsn(database_url)

    async def connect() -> asyncpg.Connection:
        try:
            return await asyncpg.connect(dsn, timeout=5, command_timeout=30)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # A wrong password or option looks the same to a client, but not to an operator.
            log.warning("database_not_reached", error=f"{type(error).__name__}: {error}")
            raise DatabaseAway("The database does not answer.") from error

    engine = create_async_engine(
        # Only the dialect: the address, with all its options, is asyncpg's to read.
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_recycle=1800,
    )
    event.listen(engine.sync_engine, "checkout", _replace_if_cut)
    event.listen(engine.sync_engine, "handle_error", _say_away)
    return engine


def single_statements(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions whose every statement is a transaction of its own, in one round trip, not three.

    For the one statement of a hot path; what belongs together needs `async_sessionmaker(engine)`.
    """
    return async_sessionmaker(
        engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False
    )


FetchRow = Callable[..., Coroutine[Any, Any, Mapping[str, Any] | None]]
"""Runs a statement with its arguments for `$1`, `$2`, …, and gives its first row."""


@contextmanager
def row_fetcher(engine: AsyncEngine) -> Iterator[FetchRow]:
    """What runs a hot path's one statement in a transaction of its own, straight in the driver.

    A session around the same statement takes four times the processor time. SQLAlchemy lends the
    connections and looks at them before; half of them may stay borrowed for a while, because
    lending one takes as long as a statement.
    """
    most = max(1, engine.pool.size() // 2)  # type: ignore[attr-defined]  # a QueuePool
    resting: list[tuple[PoolProxiedConnection, float]] = []

    async def borrow() -> tuple[PoolProxiedConnection, float]:
        while resting:
            connection, return_at = resting.pop()
            if not _driver_of(connection).is_closed():
                if time.monotonic() < return_at:
                    return connection, return_at
            else:
                connection.invalidate()
            connection.close()
        return await engine.raw_connection(), time.monotonic() + _BORROWED_S

    async def fetch_row(statement: str, *arguments: object) -> Mapping[str, Any] | None:
        """Raise `DatabaseAway` where the database does not answer, else what it says."""
        connection, return_at = await borrow()
        try:
            row: Mapping[str, Any] | None = await _driver_of(connection).fetchrow(
                statement, *arguments
            )
        except BaseException as error:
            # Where the statement is by now nobody knows, unless the database has answered it.
            if not isinstance(error, asyncpg.PostgresError):
                connection.invalidate()
            connection.close()
            if isinstance(error, _CUT) or _says_away(error):
                raise DatabaseAway(_WENT_AWAY) from error
            raise
        if len(resting) < most:
            resting.append((connection, return_at))
        else:
            connection.close()
        return row

    try:
        yield fetch_row
    finally:
        for connection, _ in resting:
            connection.close()


def _driver_of(connection: PoolProxiedConnection) -> Any:
    return connection.driver_connection


def _replace_if_cut(connection: Any, _: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    """Never hand out a connection that the server has closed, nor any that is as old.

    The event loop has heard of the end by then, so unlike a ping this costs nothing; what it has
    not heard of is `DatabaseAway` at the first statement.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


def _say_away(context: ExceptionContext) -> BaseException | None:
    # A cancelled statement costs its connection, but a cancellation is no fault of the database's.
    if not isinstance(context.original_exception, Exception):
        return None
    if context.is_disconnect or _says_away(context.original_exception):
        return DatabaseAway(_WENT_AWAY)
    return None


def _says_away(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) in _AWAY_STATES


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Yield the request's session; commit when the route returns, else roll back."""
    sessions: async_sessionmaker[AsyncSession] = request.state.sessions
    async with sessions.begin() as session:
        yield session


# scope="function" ends the transaction before the response leaves: a failed
# commit is then an error the client sees, not a 201 that never happened.
SessionDep = Annotated[AsyncSession, Depends(open_session, scope="function")]
