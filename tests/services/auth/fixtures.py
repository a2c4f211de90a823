"""How tests get an auth service; shared by this folder and the attacks on it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.database import new_database
from tests.services.auth.rig import Auth, running_auth


@pytest.fixture(scope="module")
async def auth(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Auth]:
    """Auth for the tests of one module, each of which makes its own accounts."""
    keys_dir = tmp_path_factory.mktemp("auth") / "keys"
    async with (
        new_database(postgres_url, template=template_database) as database_url,
        running_auth(database_url, keys_dir) as auth,
    ):
        yield auth


@pytest.fixture
async def fresh_auth(scratch_database: str, tmp_path: Path) -> AsyncGenerator[Auth]:
    """Auth for one test, nobody but the first administrator in it."""
    async with running_auth(scratch_database, tmp_path / "keys") as auth:
        yield auth
