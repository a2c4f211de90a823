"""PostgreSQL is killed, paused and starved while rows are written: no acknowledged row is lost."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from shared.postgres import EmbeddedPostgres, PostgresError
from tests.holding import server_processes

TABLE = "CREATE TABLE journal (id bigint PRIMARY KEY, text text NOT NULL)"
INSERT = "INSERT INTO journal VALUES ($1, $2)"
#: What a connection or a statement may end with when the server goes away beneath it.
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass
class Writer:
    """Writes one row after the other, and remembers which of them were acknowledged."""

    url: str
    number: int
    text: str = "row"
    acknowledged: list[int] = field(default_factory=list)
    refused_for_space: int = 0
    longest_pause_s: float = 0.0

    async def write(self, stop: asyncio.Event) -> None:
        """Write until `stop`; reconnect whenever the server went away, and go on with a new row."""
        row = self.number * 10_000_000
        last = time.monotonic()
        while not stop.is_set():
            try:
                connection = await asyncpg.connect(self.url, timeout=5)
            except (*AWAY, TimeoutError):
                await asyncio.sleep(0.02)
                continue
            try:
                while not stop.is_set():
                    row += 1
                    await connection.execute(INSERT, row, self.text)
                    self.acknowledged.append(row)
                    self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - last)
                    last = time.monotonic()
            except asyncpg.DiskFullError:
                self.refused_for_space += 1
            except AWAY:
                pass
            connection.terminate()


async def rows_in(url: str) -> set[int]:
    """Every row that is there."""
    connection = await asyncpg.connect(url)
    try:
        return {row["id"] for row in await connection.fetch("SELECT id FROM journal")}
    finally:
        await connection.close()


async def execute(url: str, statement: str) -> None:
    """Run one statement."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def until(claim: Callable[[], bool]) -> None:
    """Wait for what another process, which sets no event, makes true."""
    async with asyncio.timeout(60):
        while not claim():
            await asyncio.sleep(0.01)


async def progress(writers: list[Writer], rows: int) -> None:
    """Wait until every writer has written `rows` more."""
    goals = {writer.number: len(writer.acknowledged) + rows for writer in writers}
    await until(lambda: all(len(w.acknowledged) >= goals[w.number] for w in writers))


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that the database's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="vedette-test-")).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGQUIT])
async def test_no_acknowledged_row_is_lost_when_the_server_dies(
    home: Path, fault: signal.Signals
) -> None:
    """Three deaths under four writers, with the durable settings of the product."""
    server = EmbeddedPostgres(home)
    url = await asyncio.to_thread(server.start)
    try:
        await execute(url, TABLE)
        stop = asyncio.Event()
        writers = [Writer(url, number) for number in range(4)]
        tasks = [asyncio.create_task(writer.write(stop)) for writer in writers]
        for _ in range(3):
            await progress(writers, 20)
            assert server.process_id is not None
            os.kill(server.process_id, fault)
            await until(lambda: not server.is_running)
            assert await asyncio.to_thread(server.start) == url
        await progress(writers, 20)
        stop.set()
        await asyncio.gather(*tasks)

        acknowledged = {row for writer in writers for row in writer.acknowledged}
        assert len(acknowledged) >= 4 * 80
        assert acknowledged <= await rows_in(url)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_backend_that_dies_takes_no_acknowledged_row_with_it(home: Path) -> None:
    """The server restarts itself inside; nobody has to start it again."""
    server = EmbeddedPostgres(home)
    url = await asyncio.to_thread(server.start)
    try:
        await execute(url, TABLE)
        stop = asyncio.Event()
        writer = Writer(url, 1)
        task = asyncio.create_task(writer.write(stop))
        await progress([writer], 20)
        victim = await asyncpg.connect(url)
        os.kill(await victim.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        victim.terminate()
        await progress([writer], 20)
        stop.set()
        await task

        assert server.is_running
        assert set(writer.acknowledged) <= await rows_in(url)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_paused_server_goes_on_where_it_was(home: Path) -> None:
    """SIGSTOP is a machine that sleeps or a disk that hangs: late, and nothing lost."""
    server = EmbeddedPostgres(home)
    url = await asyncio.to_thread(server.start)
    try:
        await execute(url, TABLE)
        stop = asyncio.Event()
        writer = Writer(url, 1)
        task = asyncio.create_task(writer.write(stop))
        await progress([writer], 20)
        paused = server_processes(home)
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(2)
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        await progress([writer], 20)
        stop.set()
        await task

        assert writer.longest_pause_s > 1.5
        assert set(writer.acknowledged) <= await rows_in(url)
    finally:
        await asyncio.to_thread(server.stop)


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of 160 MB that fills up."""
    disk = home / "disk"
    disk.mkdir(mode=0o711)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0711", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine mounts no small file system")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_a_full_disk_stops_the_server_and_loses_no_acknowledged_row(
    small_disk: Path,
) -> None:
    """It refuses or stops while the disk is full, and comes back with everything."""
    server = EmbeddedPostgres(small_disk / "home")
    url = await asyncio.to_thread(server.start)
    try:
        await execute(url, TABLE)
        stop = asyncio.Event()
        writer = Writer(url, 1, text="x" * 200_000)
        # Uncompressed, so that a row takes the room it seems to.
        await execute(url, "ALTER TABLE journal ALTER COLUMN text SET STORAGE EXTERNAL")
        ballast = small_disk / "ballast"
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(b"\0" * max(0, free - 24_000_000))
        task = asyncio.create_task(writer.write(stop))
        await until(lambda: writer.refused_for_space > 3 or not server.is_running)
        full = shutil.disk_usage(small_disk).free
        if server.is_running:
            os.kill(server.process_id or 0, signal.SIGKILL)
            await until(lambda: not server.is_running)
        with contextlib.suppress(PostgresError):
            await asyncio.to_thread(server.start)
        ballast.unlink()
        assert full < 24_000_000

        assert await asyncio.to_thread(server.start) == url
        await progress([writer], 3)
        stop.set()
        await task
        assert set(writer.acknowledged) <= await rows_in(url)
    finally:
        await asyncio.to_thread(server.stop)
