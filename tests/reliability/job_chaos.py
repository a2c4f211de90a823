"""Jobs under faults: workers killed and stopped, the database killed; then every job is counted.

`python -m tests.reliability.job_chaos --jobs 900` runs the long form and prints what it found.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.db import DatabaseAway, create_engine
from shared.postgres import EmbeddedPostgres
from tests.shared.jobs.probe import EffectRow, TaskRow, add_tasks, count_unfinished, install

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = [sys.executable, "-m", "tests.shared.jobs.probe"]


@dataclass
class Workers:
    """Worker processes that are started again when they end, as a supervisor would."""

    url: str
    folder: Path
    command: Sequence[str] = tuple(WORKER)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def start(self, count: int) -> None:
        """Start the processes."""
        for _ in range(count):
            self.processes.append(self._start())

    def _start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        with (self.folder / f"worker-{self.started}.log").open("wb") as log:
            return subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, "VEDETTE_DATABASE_URL": self.url},
                stdout=log,
                stderr=log,
            )

    def kill(self, number: int) -> None:
        """Kill one with -9 and start another."""
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._start()

    def ended_by_themselves(self) -> int:
        """How many are gone though nobody killed them."""
        return sum(process.poll() is not None for process in self.processes)

    def stop(self) -> list[int]:
        """Ask all to end; their statuses."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.wait(30) for process in self.processes]


@dataclass(frozen=True)
class Found:
    """What is true at the end."""

    jobs: int
    statuses: dict[str, int]
    duplicates: int
    """Effects beyond one for each job."""
    lost: int
    """Jobs without an effect."""
    most_attempts: int
    died: int
    """Jobs that lost a worker."""
    seconds: float
    exits: list[int]
    ended_by_themselves: int


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that the database's user can reach."""
    with tempfile.TemporaryDirectory(prefix="vedette-chaos-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        yield folder


async def chaos(folder: Path, *, jobs: int, seconds_each: float, rounds: int) -> Found:
    """Queue `jobs`, and while three workers do them let one fault follow the other.

    Each round kills a worker with -9, stops another for longer than its lease, and kills the
    database's postmaster.
    """
    server = EmbeddedPostgres(folder / "home")
    url = await asyncio.to_thread(server.start)
    workers = Workers(url, folder)
    engine = create_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        await install(url)
        begun = time.monotonic()
        for tenant in ("a", "b", "c"):
            await add_tasks(sessions, jobs // 3, tenant=tenant, seconds=seconds_each)
        workers.start(3)
        await _until_done(sessions, jobs // 10)
        for number in range(rounds):
            await fault(workers, server, number)
        await _until_unfinished(sessions, 0)
        seconds = time.monotonic() - begun
        ended = workers.ended_by_themselves()
        exits = await asyncio.to_thread(workers.stop)
        return await _count(sessions, seconds, exits, ended)
    finally:
        await asyncio.to_thread(workers.stop)
        await engine.dispose()
        await asyncio.to_thread(server.stop)


async def fault(
    workers: Workers, server: EmbeddedPostgres, number: int, *, outage_s: float = 0
) -> None:
    """Stop a worker, kill another, kill the database, and let all of it come back."""
    stopped = workers.processes[(number + 1) % 3]
    stopped.send_signal(signal.SIGSTOP)
    workers.kill(number % 3)
    await asyncio.sleep(1.5)
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGKILL)
    while server.is_running:
        await asyncio.sleep(0.01)
    await asyncio.sleep(outage_s)
    await asyncio.to_thread(server.start)
    # Beyond the lease of three seconds, during which others take the job over.
    await asyncio.sleep(3.5)
    stopped.send_signal(signal.SIGCONT)
    await asyncio.sleep(0.5)


async def _until_unfinished(sessions: async_sessionmaker[AsyncSession], most: int) -> None:
    while await count_unfinished(sessions) > most:
        await asyncio.sleep(0.1)


async def _until_done(sessions: async_sessionmaker[AsyncSession], count: int) -> None:
    async with sessions() as session:
        total = await session.scalar(select(func.count()).select_from(TaskRow)) or 0
    with contextlib.suppress(DatabaseAway):
        await _until_unfinished(sessions, total - count)


async def _count(
    sessions: async_sessionmaker[AsyncSession], seconds: float, exits: list[int], ended: int
) -> Found:
    async with sessions() as session:
        rows = (await session.scalars(select(TaskRow))).all()
        done = collections.Counter(
            await session.scalars(select(EffectRow.task_id).where(EffectRow.what == "done"))
        )
    return Found(
        jobs=len(rows),
        statuses=dict(collections.Counter(row.status for row in rows)),
        duplicates=sum(done.values()) - len(done),
        lost=sum(row.id not in done for row in rows),
        most_attempts=max(row.attempts for row in rows),
        died=sum(row.deaths > 0 for row in rows),
        seconds=round(seconds, 1),
        exits=exits,
        ended_by_themselves=ended,
    )


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=900)
    parser.add_argument("--seconds-each", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=2)
    wish = parser.parse_args()
    with reachable_folder() as folder:
        found = asyncio.run(
            chaos(folder, jobs=wish.jobs, seconds_each=wish.seconds_each, rounds=wish.rounds)
        )
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
