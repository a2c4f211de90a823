"""A service that only has jobs: its tables, its handler, and workers in processes of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Double, Identity, Text, Uuid, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.cli.worker import work_until_told
from shared.db import create_engine
from shared.jobs import Claim, Failure, JobColumns, JobQueue, Patience, Worker, job_indexes
from shared.migrations import migrate

SCHEMA = "probe"
MIGRATIONS = Path(__file__).parent / "migrations"
#: Short enough for a test, long enough for a busy machine.
HASTY = Patience(lease_s=3, sweep_s=0.2, first_retry_s=0.05, longest_retry_s=0.2, grace_s=1)


class Base(DeclarativeBase):
    """The registry of the probe's tables."""


class TaskRow(JobColumns, Base):
    """A job of the probe."""

    __tablename__ = "tasks"
    label: Mapped[str] = mapped_column(Text, server_default="")
    seconds: Mapped[float] = mapped_column(Double, server_default="0")
    __table_args__ = (*job_indexes("tasks"), {"schema": SCHEMA})


class EffectRow(Base):
    """What a job has done."""

    __tablename__ = "effects"
    __table_args__ = ({"schema": SCHEMA},)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(Uuid)
    what: Mapped[str] = mapped_column(Text)


TASKS = JobQueue(TaskRow)

Act = Callable[[Claim], Awaitable[Mapping[str, Any] | None]]


async def take_time(claim: Claim) -> Mapping[str, Any] | None:
    """Take as long as the row says, then write one effect that completes the job."""
    async with claim.effect() as effect:
        seconds = await effect.session.scalar(
            select(TaskRow.seconds).where(TaskRow.id == claim.job_id)
        )
    await asyncio.sleep(seconds or 0)
    async with claim.effect() as effect:
        effect.session.add(EffectRow(task_id=claim.job_id, what="done"))
        await effect.complete()
    return None


@dataclass
class Probe:
    """The probe's handler: acts as it is told, and writes what it is told of."""

    act: Act = take_time
    begun: "asyncio.Queue[Claim]" = field(default_factory=asyncio.Queue)

    async def run(self, claim: Claim) -> Mapping[str, Any] | None:
        """Act."""
        self.begun.put_nowait(claim)
        return await self.act(claim)

    async def on_failed(self, session: AsyncSession, job_id: UUID, failure: Failure) -> None:
        """Remember it."""
        session.add(EffectRow(task_id=job_id, what=f"failed: {failure.code}"))

    async def on_cancelled(self, session: AsyncSession, job_id: UUID) -> None:
        """Remember it."""
        session.add(EffectRow(task_id=job_id, what="cancelled"))


async def install(database_url: str) -> None:
    """Make the probe's schema."""
    await migrate(database_url, SCHEMA, MIGRATIONS)


async def add_tasks(
    sessions: async_sessionmaker[AsyncSession], count: int = 1, **columns: Any
) -> list[UUID]:
    """Queue some jobs in one transaction."""
    columns = {"tenant": "a", **columns}
    rows = [TaskRow(id=uuid4(), **columns) for _ in range(count)]
    async with sessions.begin() as session:
        for row in rows:
            await TASKS.add(session, row)
    return [row.id for row in rows]


async def task(sessions: async_sessionmaker[AsyncSession], task_id: UUID) -> TaskRow:
    """A job as its row says now."""
    async with sessions() as session:
        return (await session.scalars(select(TaskRow).where(TaskRow.id == task_id))).one()


async def effects_of(sessions: async_sessionmaker[AsyncSession], task_id: UUID) -> list[str]:
    """What a job has done, in order."""
    async with sessions() as session:
        found = await session.scalars(
            select(EffectRow.what).where(EffectRow.task_id == task_id).order_by(EffectRow.number)
        )
        return list(found)


async def until_status(
    sessions: async_sessionmaker[AsyncSession], task_id: UUID, *statuses: str, within_s: float = 30
) -> TaskRow:
    """Wait until a job is in one of the states."""
    async with asyncio.timeout(within_s):
        while (row := await task(sessions, task_id)).status not in statuses:
            await asyncio.sleep(0.01)
    return row


async def count_unfinished(sessions: async_sessionmaker[AsyncSession]) -> int:
    """How many jobs are not completed, failed or cancelled."""
    live = ("queued", "running", "paused", "held")
    async with sessions() as session:
        count = select(func.count()).select_from(TaskRow).where(TaskRow.status.in_(live))
        return (await session.scalar(count)) or 0


@asynccontextmanager
async def working(
    engine: AsyncEngine,
    database_url: str,
    probe: Probe,
    *,
    concurrency: int = 2,
    patience: Patience = HASTY,
) -> AsyncIterator[Worker]:
    """A worker in this process, from the moment it hears of jobs."""
    worker = Worker(TASKS, probe, engine, database_url, concurrency=concurrency, patience=patience)
    async with worker.running():
        await worker.until_listening()
        yield worker


@asynccontextmanager
async def open_probe_worker() -> AsyncIterator[Worker]:
    """What `vedette worker probe` would run, with leases that end soon."""
    url = os.environ["VEDETTE_DATABASE_URL"]
    engine = create_engine(url, pool_size=6)
    try:
        yield Worker(TASKS, Probe(), engine, url, concurrency=4, patience=HASTY)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    sys.exit(asyncio.run(work_until_told(open_probe_worker)))
