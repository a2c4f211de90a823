"""One bqat for the tests of a module; each test is a tenant of its own."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest

from tests.database import new_database
from tests.services.bqat.support import Bqat, as_caller, caller, running_bqat


@pytest.fixture(scope="module")
async def bqat(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Bqat]:
    """A running bqat that is open to everybody on loopback."""
    home: Path = tmp_path_factory.mktemp("bqat")
    async with (
        new_database(postgres_url, template=template_database) as url,
        running_bqat(url, home, bqat_anonymous=True, bqat_access_key="let me in") as running,
    ):
        yield running


@pytest.fixture
def me() -> Mapping[str, str]:
    """An analyst nobody has been before."""
    return as_caller(caller())
