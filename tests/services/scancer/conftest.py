"""A scancer of a module's own, and installations for tests that start it anew."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.database import new_database
from tests.services.scancer.support import Installation, put_in_store, register


@pytest.fixture
def installation(tmp_path: Path, scratch_database: str) -> Installation:
    """An installation of this test's own."""
    return Installation(tmp_path, scratch_database)


@pytest.fixture(scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, template_database: str
) -> AsyncGenerator[httpx.AsyncClient]:
    """A service with two versions of one network, for tests that change nothing."""
    async with new_database(postgres_url, template=template_database) as url:
        installation = Installation(tmp_path_factory.mktemp("scancer"), url)
        for version, gain in (("1.0", 4.0), ("2.0", 8.0)):
            put_in_store(installation.store, version=version, gain=gain)
        async with installation.serve() as client:
            for version in ("1.0", "2.0"):
                answer = await register(client, f"brightness-{version}.zip")
                assert answer.status_code == 200, answer.text
            yield client


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """A running service of this test's own."""
    async with installation.serve() as client:
        yield client
