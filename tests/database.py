"""The PostgreSQL that the tests run on: one server per run, databases made from one template."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shared.migrations import migrate, migrations_folder
from shared.postgres import EmbeddedPostgres, HomeInUse, PostgresError
from shared.postgres.home import server_account, unreachable_part
from shared.settings import SERVICES

ROOT = Path(__file__).resolve().parent.parent

#: Tests do not survive a power cut, so nothing waits for the disk.
_HASTY = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
_PREFIX = "vedette_test_"
_MOST_RUNS_AT_ONCE = 16


def _cache_folder() -> Path:
    """Where servers of earlier runs wait: in the checkout, where the server's user can reach it."""
    cache = ROOT / ".cache"
    account = server_account()
    if account is None or unreachable_part(ROOT, account) is None:
        cache.mkdir(exist_ok=True)
        if account is None or unreachable_part(cache, account) is None:
            return cache
    folder = Path(tempfile.gettempdir()) / f"vedette-tests-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid():
        raise PostgresError(f"{folder} belongs to somebody else.")
    return folder


def _empty(home: Path) -> None:
    """Remove what a cache holds, which may be damaged, since nothing waited for the disk."""
    with (home / "postgres" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(home / "postgres" / "data", ignore_errors=True)


@contextmanager
def running_server() -> Generator[str]:
    """The address of a server: VEDETTE_TEST_DATABASE_URL, or an embedded one of this run alone."""
    given = os.environ.get("VEDETTE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    cache = _cache_folder()
    for number in range(_MOST_RUNS_AT_ONCE):
        home = cache / f"test-home-{number}"
        server = EmbeddedPostgres(home, options=_HASTY)
        try:
            url = server.start(timeout_s=60)
        except HomeInUse:
            continue
        except PostgresError:
            _empty(home)
            url = server.start(timeout_s=60)
        try:
            yield url
        finally:
            server.stop()
        return
    raise PostgresError(f"{_MOST_RUNS_AT_ONCE} test runs use {cache} already.")


def with_database(url: str, name: str) -> str:
    """The same server's address for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def drop_leftovers(url: str) -> None:
    """Drop the databases of runs that were killed; the server must be this run's alone."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", _PREFIX
        )
        for row in found:
            await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" (FORCE)')
    finally:
        await connection.close()


@asynccontextmanager
async def new_database(url: str, *, template: str | None = None) -> AsyncGenerator[str]:
    """A database of a random name, dropped afterwards.

    Args:
        url: any database of the server.
        template: the name of a database that nobody is connected to, copied with all it holds.
    """
    name = f"{_PREFIX}{secrets.token_hex(6)}"
    copied = "" if template is None else f' TEMPLATE "{template}"'
    await execute(url, f'CREATE DATABASE "{name}"{copied}')
    try:
        yield with_database(url, name)
    finally:
        await execute(url, f'DROP DATABASE "{name}" (FORCE)')


@asynccontextmanager
async def migrated_template(url: str) -> AsyncGenerator[str]:
    """The name of a database that holds every service's schema and that nobody is connected to."""
    async with new_database(url) as template_url:
        for service in SERVICES:
            if any((migrations_folder(service) / "versions").glob("*.py")):
                await migrate(template_url, service)
        yield urlsplit(template_url).path.removeprefix("/")
