"""How PgQueuer brings word of a job to a worker: one message for each job that waits.

The message is a ticket for one run. It names its job, but the worker that gets it takes the job
whose turn it is; there are as many tickets as jobs, so every job finds a worker. What is true of
a job stands in its row alone, so a ticket too many costs one query and a ticket that was lost is
replaced by the sweeper.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final, Self
from uuid import UUID

from pgqueuer import Queries
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.settings import DBSettings
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver, NotifyCallback
from sqlalchemy.ext.asyncio import AsyncSession

#: The one kind of message that a service's queue carries.
ENTRYPOINT: Final = "job"


@cache
def delivery_settings(schema: str) -> DBSettings:
    """PgQueuer's names within a service's schema; channels are the whole database's."""
    return DBSettings(prefix="", db_schema=schema, channel=Channel(f"{schema}_jobs"))


def signal_channel(schema: str) -> str:
    """Where a worker hears that a job it has is to be cancelled or paused."""
    return f"{schema}_job_signals"


def queries_over(driver: Driver, schema: str) -> Queries:
    """PgQueuer's statements for one service's schema."""
    settings = delivery_settings(schema)
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a message says: a job, and the fence under which it waits."""

    job_id: UUID
    fence: int

    @property
    def key(self) -> str:
        """Different for every time that a job begins to wait."""
        return f"{self.job_id}:{self.fence}"


async def deliver(
    session: AsyncSession, schema: str, jobs: Sequence[Ticket], *, delay_s: float = 0
) -> None:
    """Send one ticket for each of `jobs` when the session's transaction commits."""
    if not jobs:
        return
    await queries_over(SessionDriver(session), schema).enqueue(
        [ENTRYPOINT] * len(jobs),
        [str(job.job_id).encode() for job in jobs],
        [0] * len(jobs),
        execute_after=[timedelta(seconds=delay_s)] * len(jobs),
        dedupe_key=[job.key for job in jobs],
        on_conflict="skip",
    )


class SessionDriver(Driver):
    """Lets PgQueuer write within the transaction of a SQLAlchemy session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._shutdown = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Run a statement and return its rows."""
        connection = await self._session.connection()
        found = await connection.exec_driver_sql(query, tuple(args))
        return [dict(row) for row in found.mappings()]

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        connection = await self._session.connection()
        return str((await connection.exec_driver_sql(query, tuple(args))).rowcount)

    async def notify(self, channel: str, payload: str) -> None:
        """Notify when the transaction commits."""
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """A session hears nothing: workers listen on connections of their own."""
        raise TypeError("a session cannot listen")

    @property
    def shutdown(self) -> asyncio.Event:
        """Never set here."""
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        """No task is ever in it."""
        return TaskManager()

    async def __aenter__(self) -> Self:
        """Nothing opens: the session's owner opened it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing closes."""
