"""A database of its own with the probe's schema."""

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.db import create_engine
from tests.database import new_database
from tests.shared.jobs.probe import install


@pytest.fixture
async def probe_url(postgres_url: str) -> AsyncGenerator[str]:
    """The address of a database that holds the probe's schema alone."""
    async with new_database(postgres_url) as url:
        await install(url)
        yield url


@pytest.fixture
async def probe_engine(probe_url: str) -> AsyncGenerator[AsyncEngine]:
    """Connections to it."""
    engine = create_engine(probe_url, pool_size=8)
    yield engine
    await engine.dispose()


@pytest.fixture
async def probe_sessions(probe_engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions that commit."""
    return async_sessionmaker(probe_engine, expire_on_commit=False)
