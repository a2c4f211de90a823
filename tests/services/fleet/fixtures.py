"""One mine for all tests of a run; they make trucks and people of their own."""

from collections.abc import AsyncGenerator

import pytest

from tests.database import new_database
from tests.services.fleet.support import Mine, Person, mine_of


@pytest.fixture(scope="session")
async def mine(postgres_url: str, template_database: str) -> AsyncGenerator[Mine]:
    """A running platform."""
    async with (
        new_database(postgres_url, template=template_database) as url,
        mine_of(
            url,
            fleet_ping_interval_s=2,
            fleet_ping_timeout_s=2,
            webhook_allow=("127.0.0.1",),
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
async def admin(mine: Mine) -> Person:
    """The first administrator."""
    return await mine.log_in()
