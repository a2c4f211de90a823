"""What every test may ask for: a migrated PostgreSQL, sessions without a trace, a browser."""

import os
from collections.abc import AsyncGenerator, Generator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.db import create_engine
from tests.browser import Browser, find_chromium, running_browser
from tests.database import drop_leftovers, migrated_template, new_database, running_server


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str]:
    """Some database of the server that this run uses; tests want `database_url`."""
    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> AsyncGenerator[str]:
    """The name of a migrated database to copy; nothing may connect to it."""
    if not os.environ.get("VEDETTE_TEST_DATABASE_URL"):
        await drop_leftovers(postgres_url)
    async with migrated_template(postgres_url) as name:
        yield name


@pytest.fixture(scope="session")
async def database_url(postgres_url: str, template_database: str) -> AsyncGenerator[str]:
    """The migrated database that all tests of this run share; use it through `sessions`."""
    async with new_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="session")
async def engine(database_url: str) -> AsyncGenerator[AsyncEngine]:
    """Connections to the shared database."""
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def sessions(engine: AsyncEngine) -> AsyncGenerator[async_sessionmaker[AsyncSession]]:
    """Sessions inside one outer PostgreSQL transaction that is never committed."""
    async with engine.connect() as connection:
        outer = await connection.begin()
        yield async_sessionmaker(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        )
        await outer.rollback()


@pytest.fixture
async def scratch_database(postgres_url: str, template_database: str) -> AsyncGenerator[str]:
    """The address of a migrated database of one's own, for commits, LISTEN and parallel work."""
    async with new_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """One Chromium for all tests; a test asks it for a page of its own."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with running_browser(program) as browser:
        yield browser
