"""Schemas come up to date once, whole, whoever starts first."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import create_engine
from shared.migrations import (
    MigrationFailed,
    is_current,
    migrate,
    migrate_apart,
    migrations_folder,
    newest_revision,
)
from shared.settings import SERVICES
from tests.database import ROOT

FIRST = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), schema="scratch")
    op.execute("SELECT pg_sleep(0.2)")
"""
SECOND_BREAKS = """
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.execute("CREATE TABLE scratch.more (id int)")
    op.execute("SELECT 1 / 0")
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_things.py").write_text(FIRST)
    return tmp_path


async def tables(url: str) -> list[str]:
    engine = create_engine(url)
    async with engine.connect() as connection:
        found = await connection.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'scratch'")
        )
        names = sorted(found)
    await engine.dispose()
    return names


async def test_replicas_that_start_together_take_turns(
    scratch_database: str, history: Path
) -> None:
    await asyncio.gather(*(migrate(scratch_database, "scratch", history) for _ in range(4)))
    assert await tables(scratch_database) == ["alembic_version", "things"]


async def test_nothing_stays_of_a_migration_that_fails(
    scratch_database: str, history: Path
) -> None:
    await migrate(scratch_database, "scratch", history)
    (history / "versions" / "0002_more.py").write_text(SECOND_BREAKS)
    with pytest.raises(DBAPIError, match="division by zero"):
        await migrate(scratch_database, "scratch", history)
    assert await tables(scratch_database) == ["alembic_version", "things"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_history_ends_where_its_last_file_says(service: str) -> None:
    """The start trusts the names of the files; this is why it may."""
    folder = migrations_folder(service)
    configuration = Config()
    configuration.set_main_option("script_location", str(folder))
    configuration.set_main_option("version_locations", str(folder / "versions"))
    configuration.set_main_option("path_separator", "os")
    assert newest_revision(folder) == ScriptDirectory.from_config(configuration).get_current_head()


def test_a_start_with_nothing_to_migrate_does_not_load_alembic(scratch_database: str) -> None:
    program = (
        "import asyncio, sys; from shared.migrations import migrate;"
        f"asyncio.run(migrate({scratch_database!r}, 'auth')); print('alembic' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


async def test_a_service_has_its_schema_made_by_a_process_of_its_own(scratch_database: str) -> None:
    """So that what a migration leaves behind is not the service's to keep."""
    engine = create_engine(scratch_database)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA netra CASCADE"))
    await migrate_apart(scratch_database, "netra")
    await is_current(engine, "netra")()
    await engine.dispose()


async def test_a_service_is_told_why_its_schema_could_not_be_made(scratch_database: str) -> None:
    engine = create_engine(scratch_database)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM netra.alembic_version"))
    await engine.dispose()

    with pytest.raises(MigrationFailed, match="already exists"):
        await migrate_apart(scratch_database, "netra")


async def test_readiness_tells_an_old_schema(scratch_database: str) -> None:
    engine = create_engine(scratch_database)
    assert await is_current(engine, "auth")() == f"at {newest_revision(migrations_folder('auth'))}"
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM auth.alembic_version"))
    with pytest.raises(RuntimeError, match="schema auth is at None"):
        await is_current(engine, "auth")()
    await engine.dispose()
