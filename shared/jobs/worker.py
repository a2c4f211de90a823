"""A worker: takes the jobs of one service, a few at a time, for as long as the process lives."""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog
from pgqueuer import (
    AsyncpgDriver,
    DatabaseRetryEntrypointExecutor,
    Job,
    QueueManager,
    RetryRequested,
)
from pgqueuer.core.executors import EntrypointExecutorParameters
from pgqueuer.errors import PgqException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from shared.db import asyncpg_dsn, single_statements
from shared.jobs.claims import Claim, claim_next, is_any_claimable
from shared.jobs.delivery import ENTRYPOINT, delivery_settings, queries_over, signal_channel
from shared.jobs.errors import AWAY
from shared.jobs.handler import JobHandler, Patience
from shared.jobs.metrics import WAITED_S
from shared.jobs.queue import JobQueue
from shared.jobs.runs import Run
from shared.jobs.settling import Settling
from shared.jobs.states import JobStatus, Stop
from shared.jobs.sweeper import Sweeper

log = structlog.get_logger(__name__)

_RECONNECT_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_CONNECT_TIMEOUT_S: Final = 5.0
_COMMAND_TIMEOUT_S: Final = 30.0
#: PgQueuer gives a ticket to another worker when its own was silent for so long.
_TICKET_TIMEOUT: Final = timedelta(seconds=30)
#: How long a ticket whose notice was lost may lie there.
_POLL: Final = timedelta(seconds=10)
_CLAIM_AGAIN_S: Final = 0.005
_MOST_CLAIMS: Final = 100

#: `renewed` leaves out what an effect has locked: that effect renews it.
_RENEW = """
    WITH held AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS held (id, fence)
    ), renewed AS (
        SELECT job.id FROM {jobs} AS job JOIN held ON held.id = job.id AND held.fence = job.fence
        WHERE job.status = 'running'
        FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE {jobs} AS job
    SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    FROM renewed WHERE job.id = renewed.id
"""
_LOOK = """
    SELECT id, fence, status, cancel_requested, pause_requested
    FROM {jobs} WHERE id = ANY(CAST(:ids AS uuid[]))
"""


class Worker:
    """Does the jobs of one service within this process."""

    def __init__(
        self,
        queue: JobQueue,
        handler: JobHandler,
        engine: AsyncEngine,
        database_url: str,
        *,
        concurrency: int = 2,
        patience: Patience | None = None,
    ) -> None:
        """Prepare; `run` or `running` begins.

        Args:
            queue: whose jobs.
            handler: does them.
            engine: for claims and effects; a connection for each job at once, and two more.
            database_url: for a connection of its own, which listens.
            concurrency: how many jobs at once; 0 only looks after jobs that others do. PgQueuer
                needs room for two, so 1 counts as 2.
            patience: how long it waits for what.
        """
        self._queue = queue
        self._handler = handler
        self._dsn = asyncpg_dsn(database_url)
        self._concurrency = concurrency if concurrency == 0 else max(2, concurrency)
        self._patience = patience or Patience()
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._statements = single_statements(engine)
        self._settling = Settling(queue, handler, self._sessions, self._patience)
        self._sweeper = Sweeper(queue, handler, self._sessions, self._patience)
        self._slots = asyncio.Semaphore(max(1, self._concurrency))
        self._runs: dict[UUID, Run] = {}
        self._works: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._listening = asyncio.Event()
        self._name = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(3)}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        """Work until the block ends, then stop in order."""
        working = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            self.stop()
            await working

    def stop(self) -> None:
        """Take no more jobs, give those at hand the grace, hand back what is left."""
        self._stopping.set()

    async def until_listening(self) -> None:
        """Wait until a new job would be heard of at once."""
        await self._listening.wait()

    async def check(self) -> str:
        """For `/readyz`: raises while the worker hears of no job."""
        if self._concurrency and not self._listening.is_set():
            raise RuntimeError("the worker is not connected to the database")
        return f"{len(self._runs)} of {self._concurrency} jobs at hand"

    async def run(self) -> None:
        """Work until `stop`; the database may come and go meanwhile."""
        # What matters of a lost connection is logged here, once.
        logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)
        log.info("worker_started", jobs=self._queue.schema, concurrency=self._concurrency)
        loops = [
            asyncio.create_task(self._repeat(self._renew, self._patience.renew_s)),
            # The first pause lets living workers renew what they could not during an outage.
            asyncio.create_task(self._repeat(self._sweeper.sweep, self._patience.sweep_s)),
        ]
        if self._concurrency:
            loops.append(asyncio.create_task(self._listen_for_ever()))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            # A loop that ends by itself is a bug, which must not be silent.
            await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await self._drain()
        finally:
            stopping.cancel()
            for loop in loops[:2]:
                loop.cancel()
            ends = await asyncio.gather(*loops, return_exceptions=True)
        log.info("worker_stopped", jobs=self._queue.schema)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _repeat(self, act: Any, every_s: float) -> None:
        """Act now and then; after an outage not before living workers had time to renew."""
        pause_s = max(every_s, self._patience.renew_s if act == self._sweeper.sweep else 0)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = every_s
            try:
                await act()
            except AWAY as error:
                log.warning("jobs_database_away", error=type(error).__name__)
                if act == self._sweeper.sweep:
                    pause_s = max(every_s, self._patience.renew_s)
                else:
                    pause_s = min(every_s, 1.0)

    async def _listen_for_ever(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                await self._listen()
            except (*AWAY, PgqException, asyncpg.PostgresError) as error:
                if self._stopping.is_set():
                    return
                log.warning("worker_disconnected", error=type(error).__name__)
            finally:
                self._listening.clear()
            if time.monotonic() - begun > _CONNECT_TIMEOUT_S:
                failures = 0
            delay_s = _RECONNECT_DELAYS_S[min(failures, len(_RECONNECT_DELAYS_S) - 1)]
            failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    async def _listen(self) -> None:
        """Take tickets over one connection until it is lost or the worker stops."""
        connection = await asyncpg.connect(
            self._dsn, timeout=_CONNECT_TIMEOUT_S, command_timeout=_COMMAND_TIMEOUT_S
        )
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            manager = QueueManager(
                queries_over(AsyncpgDriver(connection), self._queue.schema),
                delivery_settings(self._queue.schema).channel,
            )
            manager.entrypoint(ENTRYPOINT, on_failure="hold", executor_factory=_executor)(
                self._taker(lost)
            )
            await connection.add_listener(signal_channel(self._queue.schema), self._on_signal)
            self._listening.set()
            managing = asyncio.create_task(
                manager.run(
                    dequeue_timeout=_POLL,
                    batch_size=max(1, self._concurrency // 2),
                    max_concurrent_tasks=self._concurrency,
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=_TICKET_TIMEOUT,
                )
            )
            ends = [asyncio.create_task(lost.wait()), asyncio.create_task(self._stopping.wait())]
            try:
                # PgQueuer notices neither by itself while it waits for word of a job.
                await asyncio.wait([managing, *ends], return_when=asyncio.FIRST_COMPLETED)
                manager.shutdown.set()
                await managing
            finally:
                for end in [managing, *ends]:
                    end.cancel()
        finally:
            connection.terminate()

    def _taker(self, lost: asyncio.Event) -> Any:
        async def take(_: Job) -> None:
            """Do one job, whose turn it is. Jobs go on when the connection that brought it ends."""
            work = asyncio.create_task(self._work())
            self._works.add(work)
            work.add_done_callback(self._works.discard)
            cut = asyncio.create_task(lost.wait())
            try:
                await asyncio.wait([work, cut], return_when=asyncio.FIRST_COMPLETED)
                if work.done() and not work.result():
                    raise RetryRequested(timedelta(seconds=0), "the job still waits")
            finally:
                cut.cancel()

        return take

    async def _work(self) -> bool:
        """Do a job; whether the ticket has served."""
        async with self._slots:
            if self._stopping.is_set():
                return False
            claim = await self._claim()
            if claim is None:
                return True
            run = Run(claim[0], claim[1], self._handler, self._settling)
            self._runs[run.claim.job_id] = run
            try:
                await run.go()
            finally:
                del self._runs[run.claim.job_id]
        return True

    async def _claim(self) -> tuple[Claim, int] | None:
        async with self._statements() as session:
            for _ in range(_MOST_CLAIMS):
                claimed = await claim_next(
                    session, self._queue, worker=self._name, lease_s=self._patience.lease_s
                )
                if claimed is not None:
                    break
                # Another worker may hold a lock on what it does not take in the end.
                if not await is_any_claimable(session, self._queue):
                    return None
                await asyncio.sleep(_CLAIM_AGAIN_S)
            else:
                return None
        WAITED_S.labels(self._queue.schema).observe(claimed.waited_s)
        claim = Claim(
            job_id=claimed.job_id,
            tenant=claimed.tenant,
            attempts=claimed.attempts,
            fence=claimed.fence,
            _queue=self._queue,
            _sessions=self._sessions,
            _lease_s=self._patience.lease_s,
        )
        return claim, claimed.failures

    async def _renew(self) -> None:
        """Renew every lease, and hear of wishes whose signal was missed."""
        claims = {job_id: run.claim for job_id, run in self._runs.items()}
        if not claims:
            return
        values = {
            "ids": list(claims),
            "fences": [claim.fence for claim in claims.values()],
            "lease_s": self._patience.lease_s,
        }
        async with self._statements() as session:
            await session.execute(text(_RENEW.format(jobs=self._queue.qualified)), values)
            rows = await session.execute(
                text(_LOOK.format(jobs=self._queue.qualified)), {"ids": values["ids"]}
            )
        found = {row.id: row for row in rows}
        for job_id, claim in claims.items():
            row, run = found.get(job_id), self._runs.get(job_id)
            if run is None or run.claim is not claim or claim.finished:
                continue
            if row is None or row.fence != claim.fence or row.status != JobStatus.RUNNING:
                run.interrupt(Stop.LOST)
            elif row.cancel_requested:
                run.interrupt(Stop.CANCEL)
            elif row.pause_requested:
                run.interrupt(Stop.PAUSE)

    def _on_signal(self, *arguments: object) -> None:
        """Somebody wishes something about a job; which, its row says."""
        with contextlib.suppress(ValueError):
            if UUID(str(arguments[-1])) in self._runs:
                renewing = asyncio.create_task(self._renew_quietly())
                self._works.add(renewing)
                renewing.add_done_callback(self._works.discard)

    async def _renew_quietly(self) -> None:
        with contextlib.suppress(*AWAY):
            await self._renew()

    async def _drain(self) -> None:
        if self._works:
            await asyncio.wait(set(self._works), timeout=self._patience.grace_s)
        for run in list(self._runs.values()):
            run.interrupt(Stop.DRAIN)
        if self._works:
            # Handing back takes one statement; a database that is away lets the leases run out.
            await asyncio.wait(set(self._works), timeout=_CONNECT_TIMEOUT_S)
        for work in set(self._works):
            work.cancel()


def _executor(parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
    """A ticket whose job could not be claimed comes again."""
    return DatabaseRetryEntrypointExecutor(
        parameters,
        max_attempts=10,
        initial_delay=timedelta(seconds=0.2),
        max_delay=timedelta(seconds=30),
    )
