"""Each service's own schema, brought up to date when the service starts.

A service keeps its history in `services/<service>/migrations/versions/`, in files that begin with
their revision: `0001_words.py`. Replicas that start together take turns through an advisory lock.
Where there is something to do, a process of its own does it: alembic and what a migration leaves
behind would cost the service 10 to 25 MB for as long as it runs.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import create_engine

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"


def migrations_folder(service: str) -> Path:
    """Where `service` keeps its history."""
    return Path(str(resources.files("services") / service / "migrations"))


def newest_revision(folder: Path) -> str | None:
    """The revision that the last file of a history leads to."""
    names = sorted(path.name for path in (folder / "versions").glob("[0-9]*_*.py"))
    return names[-1].split("_", 1)[0] if names else None


def _revision(connection: Connection, service: str) -> str | None:
    """The revision that the database is at; None where nothing has been migrated."""
    table = f'"{service}".alembic_version'
    if connection.scalar(text("SELECT to_regclass(:table)::text"), {"table": table}) is None:
        return None
    found: str | None = connection.scalar(
        text(f"SELECT version_num FROM {table}")  # noqa: S608 (a service's name is ours)
    )
    return found


def _upgrade(connection: Connection, service: str, folder: Path) -> None:
    if _revision(connection, service) == newest_revision(folder):
        return
    from alembic import command
    from alembic.config import Config

    connection.execute(text(_LOCK), {"name": f"vedette-migrations-{service}"})
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{service}"'))
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    configuration.set_main_option("version_locations", str(folder / "versions"))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["connection"] = connection
    configuration.attributes["schema"] = service
    command.upgrade(configuration, "head")


async def migrate(database_url: str, service: str, folder: Path | None = None) -> None:
    """Bring the schema of `service` up to date, in one transaction.

    Args:
        database_url: where.
        service: the schema's name.
        folder: the history, where it is not the one in the service's package.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: a migration fails; nothing of it stays.
        DatabaseAway: it does not answer.
    """
    engine = create_engine(database_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, service, folder or migrations_folder(service))
    finally:
        await engine.dispose()


class MigrationFailed(Exception):
    """A schema could not be brought up to date; nothing of the attempt stays."""


async def migrate_apart(database_url: str, service: str) -> None:
    """`migrate` in a process of its own, unless there is nothing to do.

    Raises:
        MigrationFailed: the message holds what the process said.
        DatabaseAway: the database does not answer.
    """
    engine = create_engine(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_revision, service)
    finally:
        await engine.dispose()
    if found == newest_revision(migrations_folder(service)):
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.migrations",
        service,
        env={**os.environ, "VEDETTE_DATABASE_URL": database_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise MigrationFailed(said.decode(errors="replace").strip())


def is_current(engine: AsyncEngine, service: str) -> Callable[[], Awaitable[str]]:
    """A readiness check: the database answers and the schema is the one this code expects."""
    expected = newest_revision(migrations_folder(service))

    async def check() -> str:
        async with engine.connect() as connection:
            found = await connection.run_sync(_revision, service)
        if found != expected:
            raise RuntimeError(f"schema {service} is at {found}, this code needs {expected}")
        return f"at {found}"

    return check


def _main() -> None:
    """`python -m shared.migrations SERVICE`: migrate, for a service or by hand."""
    from shared.settings import Settings

    for service in sys.argv[1:]:
        asyncio.run(migrate(Settings().require_database_url(), service))


if __name__ == "__main__":
    _main()
