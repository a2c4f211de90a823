"""The database going away is an answer, not a crash; a commit comes before its 201."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.pool import QueuePool

from shared import db
from shared.db import (
    DatabaseAway,
    FetchRow,
    SessionDep,
    create_engine,
    row_fetcher,
    single_statements,
)
from shared.migrations import migrate
from shared.problems import install_problem_handlers
from shared.revocations import Revocations
from tests.serving import running


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_an_address_may_carry_the_options_of_libpq(
    scratch_database: str, scheme: str
) -> None:
    """Managed servers hand out addresses with `sslmode` and more; none of it may be lost."""
    _, rest = scratch_database.split("://")
    joined = "&" if "?" in rest else "?"
    url = f"{scheme}://{rest}{joined}sslmode=prefer&application_name=of%20a%20test"
    engine = create_engine(url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SHOW application_name")) == "of a test"
    await engine.dispose()
    await migrate(url, "auth")
    async with Revocations.listen(url) as revocations:
        assert revocations.is_fresh


async def test_encryption_that_is_asked_for_is_never_left_out() -> None:
    """A server that cannot encrypt is not spoken to."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(8)
        writer.write(b"N")
        with contextlib.suppress(ConnectionError):
            said += await reader.read()
        writer.close()
        heard.set_result(said)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = create_engine(f"postgresql://anna@127.0.0.1:{port}/v?sslmode=require")
    with pytest.raises(DatabaseAway):
        async with engine.connect():
            pass
    server.close()

    # The request for TLS of PostgreSQL's protocol, and not a byte after the refusal.
    assert await asyncio.wait_for(heard, 5) == bytes.fromhex("0000000804d2162f")


def test_something_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        create_engine("vedette")


@pytest.fixture
async def scratch_engine(scratch_database: str) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(scratch_database, pool_size=2)
    yield engine
    await engine.dispose()


@pytest.fixture
def fetch_row(scratch_engine: AsyncEngine) -> Iterator[FetchRow]:
    """Runs single statements on the scratch database."""
    with row_fetcher(scratch_engine) as fetch:
        yield fetch


async def end_all_connections(engine: AsyncEngine) -> None:
    """What a restart of the server does to everybody."""
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )


async def test_a_connection_that_is_cut_is_database_away_and_then_all_is_well(
    scratch_engine: AsyncEngine, scratch_database: str
) -> None:
    other = create_engine(scratch_database)
    async with scratch_engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await end_all_connections(other)
        with pytest.raises(DatabaseAway):
            await connection.execute(text("SELECT 1"))
    async with scratch_engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await other.dispose()


async def test_a_connection_that_is_cut_while_it_waits_is_replaced_unnoticed(
    scratch_engine: AsyncEngine, scratch_database: str
) -> None:
    """After a restart of the server nobody is told that the pool was full of dead connections."""
    other = create_engine(scratch_database)
    async with scratch_engine.connect() as one, scratch_engine.connect() as two:
        cut = [await each.get_raw_connection() for each in (one, two)]
        drivers = [connection.driver_connection for connection in cut]
    await end_all_connections(other)
    async with asyncio.timeout(10):
        # Each statement gives the event loop a turn in which it hears of the ends.
        while not all(driver is not None and driver.is_closed() for driver in drivers):
            await end_all_connections(other)
    async with scratch_engine.connect() as one, scratch_engine.connect() as two:
        assert await one.scalar(text("SELECT 1")) == await two.scalar(text("SELECT 1")) == 1
    await other.dispose()


async def test_a_cancelled_statement_stays_cancelled(scratch_engine: AsyncEngine) -> None:
    """Whoever waits for the end of a task must not be told that the database went away instead."""

    async def wait_long() -> None:
        async with scratch_engine.connect() as connection:
            begun.set()
            await connection.execute(text("SELECT pg_sleep(30)"))

    begun = asyncio.Event()
    task = asyncio.create_task(wait_long())
    await begun.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with scratch_engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def test_a_single_statement_is_committed_by_itself(
    scratch_engine: AsyncEngine, scratch_database: str
) -> None:
    other = create_engine(scratch_database)
    async with single_statements(scratch_engine)() as session:
        await session.execute(text("CREATE TABLE kept AS SELECT 7 AS n"))
        async with other.connect() as connection:
            assert await connection.scalar(text("SELECT n FROM kept")) == 7
    await other.dispose()


async def test_a_fetched_row_is_committed_by_itself(
    fetch_row: FetchRow, scratch_database: str
) -> None:
    other = create_engine(scratch_database)

    assert await fetch_row("CREATE TABLE fetched (n BIGINT PRIMARY KEY)") is None
    row = await fetch_row("INSERT INTO fetched VALUES ($1) RETURNING n", 7)

    assert row is not None
    assert row["n"] == 7
    async with other.connect() as connection:
        assert await connection.scalar(text("SELECT n FROM fetched")) == 7
    await other.dispose()


async def test_what_the_database_refuses_is_raised_and_costs_no_connection(
    fetch_row: FetchRow,
) -> None:
    before = await fetch_row("SELECT pg_backend_pid() AS pid")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fetch_row("SELECT 1 / $1::INT", 0)

    assert await fetch_row("SELECT pg_backend_pid() AS pid") == before


async def test_a_connection_that_is_cut_while_a_row_is_fetched_is_database_away(
    fetch_row: FetchRow, scratch_database: str
) -> None:
    other = create_engine(scratch_database)
    waiting = asyncio.create_task(fetch_row("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.2)

    await end_all_connections(other)

    with pytest.raises(DatabaseAway):
        await waiting
    row = await fetch_row("SELECT 1 AS n")
    assert row is not None
    assert row["n"] == 1
    await other.dispose()


async def test_a_row_that_nobody_waits_for_any_more_disturbs_nobody(
    fetch_row: FetchRow,
) -> None:
    """Cancelled as often as there are connections, and more."""
    for _ in range(6):
        waiting = asyncio.create_task(fetch_row("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    row = await fetch_row("SELECT 1 AS n")
    assert row is not None
    assert row["n"] == 1


async def test_without_a_server_a_row_is_database_away() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nowhere")
    with row_fetcher(engine) as fetch_row, pytest.raises(DatabaseAway):
        await fetch_row("SELECT 1")


async def test_a_connection_that_was_cut_while_it_rested_is_replaced(
    fetch_row: FetchRow, scratch_database: str
) -> None:
    other = create_engine(scratch_database)
    before = await fetch_row("SELECT pg_backend_pid() AS pid")

    await end_all_connections(other)
    await asyncio.sleep(0.1)

    assert await fetch_row("SELECT pg_backend_pid() AS pid") != before
    await other.dispose()


async def test_a_connection_whose_server_has_said_that_it_ends_is_database_away(
    fetch_row: FetchRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end has not been heard of yet; what asyncpg says then is no error of the network."""
    before = await fetch_row("SELECT pg_backend_pid() AS pid")

    async def refuse(*_: object) -> None:
        raise asyncpg.InternalClientError("another operation (2) is in progress")

    with monkeypatch.context() as ending:
        ending.setattr(asyncpg.Connection, "fetchrow", refuse)
        with pytest.raises(DatabaseAway):
            await fetch_row("SELECT 1")

    assert await fetch_row("SELECT pg_backend_pid() AS pid") != before


@pytest.mark.parametrize("borrowed_s", [60.0, 0.0])
async def test_what_was_borrowed_is_returned(
    scratch_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, borrowed_s: float
) -> None:
    """At the end, and before, to be looked at: the pool has two, and one may stay borrowed."""
    monkeypatch.setattr(db, "_BORROWED_S", borrowed_s)
    pool = scratch_engine.pool
    assert isinstance(pool, QueuePool)
    lent: list[object] = []
    event.listen(scratch_engine.sync_engine, "checkout", lambda *lending: lent.append(lending))
    with row_fetcher(scratch_engine) as fetch_row:
        await asyncio.gather(*(fetch_row("SELECT pg_sleep(0.1)") for _ in range(4)))
        assert pool.checkedout() == 1
        lent.clear()
        await fetch_row("SELECT 1")
        assert len(lent) == (1 if borrowed_s == 0 else 0)
    assert pool.checkedout() == 0


async def test_no_server_is_database_away() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(DatabaseAway) as caught:
        async with engine.connect():
            pass
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "1"}


async def test_an_error_of_a_statement_stays_what_it_is(scratch_engine: AsyncEngine) -> None:
    async with scratch_engine.connect() as connection:
        await connection.execute(text("CREATE TEMP TABLE t (a int UNIQUE)"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO t VALUES (1), (1)"))


def application(engine: AsyncEngine) -> FastAPI:
    """Two routes on one table, with its constraint checked at the commit."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {"sessions": async_sessionmaker(engine)}

    app = FastAPI(lifespan=lifespan)
    install_problem_handlers(app)

    @app.post("/numbers/{number}", status_code=201)
    async def add(number: int, session: SessionDep) -> int:
        await session.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
        return number

    @app.get("/numbers")
    async def count(session: SessionDep) -> int:
        return len((await session.execute(text("SELECT n FROM numbers"))).all())

    return app


async def test_a_failed_commit_is_no_201(scratch_engine: AsyncEngine) -> None:
    async with scratch_engine.begin() as connection:
        await connection.execute(
            text("CREATE TABLE numbers (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
    async with running(application(scratch_engine)) as client:
        first = await client.post("/numbers/1")
        second = await client.post("/numbers/1")
        assert (first.status_code, second.status_code) == (201, 500)
        assert (await client.get("/numbers")).json() == 1
