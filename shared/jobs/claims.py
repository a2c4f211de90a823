"""A worker's hold on one job.

It is taken by raising the job's fence, kept by renewing a lease, and proven in every transaction
that writes what the work has brought.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, literal, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.jobs.errors import ClaimLost
from shared.jobs.queue import JobQueue
from shared.jobs.states import JobStatus, Stop

#: The tenant with the fewest running jobs comes first, of those the one that was served longest
#: ago; within a tenant the highest priority, then the longest wait. `waiting` steps from tenant to
#: tenant through the index instead of reading every job that waits, and the last step stops at the
#: first row it could lock.
_CLAIM = """
    WITH RECURSIVE waiting (tenant) AS (
        (SELECT tenant FROM {jobs} WHERE status = 'queued' ORDER BY tenant LIMIT 1)
        UNION ALL
        SELECT (
            SELECT next.tenant FROM {jobs} AS next
            WHERE next.status = 'queued' AND next.tenant > waiting.tenant
            ORDER BY next.tenant LIMIT 1
        )
        FROM waiting WHERE waiting.tenant IS NOT NULL
    ), turns AS MATERIALIZED (
        SELECT
            waiting.tenant,
            (
                SELECT count(*) FROM {jobs} AS running
                WHERE running.tenant = waiting.tenant AND running.status = 'running'
            ) AS running,
            (
                SELECT served.claimed_at FROM {jobs} AS served
                WHERE served.tenant = waiting.tenant
                ORDER BY served.claimed_at DESC NULLS LAST LIMIT 1
            ) AS served_at
        FROM waiting WHERE waiting.tenant IS NOT NULL
        ORDER BY running, served_at NULLS FIRST, tenant
    ), chosen AS (
        SELECT next.id
        FROM turns CROSS JOIN LATERAL (
            SELECT job.id FROM {jobs} AS job
            WHERE job.tenant = turns.tenant AND job.status = 'queued' AND job.run_after <= now()
            ORDER BY job.priority DESC, job.queued_at, job.id
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS next
        LIMIT 1
    )
    UPDATE {jobs} AS job SET
        status = 'running',
        fence = job.fence + 1,
        attempts = job.attempts + 1,
        worker = :worker,
        claimed_at = clock_timestamp(),
        started_at = coalesce(job.started_at, clock_timestamp()),
        lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    FROM chosen
    WHERE job.id = chosen.id
    RETURNING
        job.id, job.tenant, job.fence, job.attempts, job.deaths, job.failures,
        extract(epoch FROM job.claimed_at - greatest(job.queued_at, job.run_after)) AS waited_s
"""

_CLAIMABLE = "SELECT EXISTS (SELECT FROM {jobs} WHERE status = 'queued' AND run_after <= now())"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim read of the job."""

    job_id: UUID
    tenant: str
    fence: int
    attempts: int
    deaths: int
    failures: int
    waited_s: float


async def claim_next(
    session: AsyncSession, queue: JobQueue, *, worker: str, lease_s: float
) -> Claimed | None:
    """Take the job whose turn it is, or None when there is none that nobody else is taking."""
    statement = text(_CLAIM.format(jobs=queue.qualified))
    found: Row[Any] | None = (
        await session.execute(statement, {"worker": worker, "lease_s": lease_s})
    ).one_or_none()
    if found is None:
        return None
    return Claimed(
        job_id=found.id,
        tenant=found.tenant,
        fence=found.fence,
        attempts=found.attempts,
        deaths=found.deaths,
        failures=found.failures,
        waited_s=max(0.0, float(found.waited_s)),
    )


async def is_any_claimable(session: AsyncSession, queue: JobQueue) -> bool:
    """Whether a job waits that could begin, be it that another worker is just taking it."""
    statement = text(_CLAIMABLE.format(jobs=queue.qualified))
    return bool(await session.scalar(statement))


async def commit_whole(session: AsyncSession) -> None:
    """Commit, and learn how it went, even when the task is cancelled meanwhile.

    A commit that is cut off half way may or may not have happened, and costs its connection.
    """
    committing = asyncio.ensure_future(session.commit())
    try:
        await asyncio.shield(committing)
    except asyncio.CancelledError:
        await asyncio.wait([committing])
        if not committing.cancelled() and committing.exception() is not None:
            raise committing.exception() from None  # type: ignore[misc]  # it is not None
        raise


@dataclass(slots=True)
class Effect:
    """One transaction in which the job is certainly this worker's."""

    session: AsyncSession
    _queue: JobQueue
    _job_id: UUID
    finished: bool = False
    """Whether this transaction ends the run."""

    async def complete(self, result: Mapping[str, Any] | None = None) -> None:
        """The job is done; `result` is kept in its row."""
        await self._end(JobStatus.COMPLETED, progress=1.0, result=result, finished_at=func.now())

    async def hold(self, code: str, detail: str) -> None:
        """A person has to decide; `JobQueue.resume` or `cancel` says how."""
        await self._end(JobStatus.HELD, error_code=code, error=detail)

    async def fail(self, code: str, detail: str) -> None:
        """The job can never succeed; what goes with that is written in this transaction."""
        await self._end(JobStatus.FAILED, error_code=code, error=detail, finished_at=func.now())

    async def progress(self, fraction: float) -> None:
        """Say how much is done, from 0 to 1, together with what this transaction writes."""
        await self.set(progress=min(1.0, max(0.0, fraction)))

    async def set(self, **columns: Any) -> None:
        """Write columns of the job's row, the service's own ones among them."""
        table = self._queue.table
        await self.session.execute(
            update(table).where(table.c.id == self._job_id).values(**columns)
        )

    async def _end(self, status: JobStatus, **columns: Any) -> None:
        self.finished = True
        await self.set(status=status, lease_until=None, worker=None, **columns)


@dataclass(slots=True)
class Claim:
    """One job in the hands of one worker; what a handler works with."""

    job_id: UUID
    tenant: str
    attempts: int
    """How often a worker began this job, this time included."""
    fence: int
    _queue: JobQueue
    _sessions: async_sessionmaker[AsyncSession]
    _lease_s: float
    finished: bool = False
    """Whether an effect has ended the run; then the handler only has to return."""
    _stop: Stop | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def service(self) -> str:
        """Whose job it is."""
        return self._queue.schema

    @property
    def stop(self) -> Stop | None:
        """Why the worker wants this run to end, or None."""
        return self._stop

    def ask_to_stop(self, why: Stop) -> None:
        """For the worker: the first reason counts, but a lost claim overrules every other."""
        if self._stop is None or why is Stop.LOST:
            self._stop = why
        self._stopped.set()

    async def until_stopped(self) -> Stop:
        """Wait for a reason to stop, for handlers that watch it beside their work."""
        await self._stopped.wait()
        assert self._stop is not None
        return self._stop

    @asynccontextmanager
    async def effect(self) -> AsyncIterator[Effect]:
        """A transaction that is written only if the job is still this worker's.

        It begins by locking the job's row and renewing the lease, so that nobody can take the job
        over before the commit; keep it short.

        Raises:
            ClaimLost: it is not; nothing was written.
            DatabaseAway: the database does not answer; whether it was written is unknown, and the
                next effect of whoever has the job then finds out.
        """
        async with self._sessions() as session:
            effect = await self._begin(session)
            yield effect
            await commit_whole(session)
        self.finished = self.finished or effect.finished

    async def progress(self, fraction: float, **columns: Any) -> None:
        """Say how much is done, from 0 to 1, and write columns of the service's own.

        Raises:
            ClaimLost: the job is no longer this worker's.
        """
        async with self.effect() as effect:
            await effect.set(progress=min(1.0, max(0.0, fraction)), **columns)

    async def _begin(self, session: AsyncSession) -> Effect:
        jobs = self._queue.table.c
        held = await session.execute(
            update(self._queue.table)
            .where(
                jobs.id == self.job_id,
                jobs.fence == self.fence,
                jobs.status == JobStatus.RUNNING,
            )
            .values(lease_until=func.now() + func.make_interval(*_SECONDS, literal(self._lease_s)))
            .returning(jobs.id)
        )
        if held.one_or_none() is None:
            self.ask_to_stop(Stop.LOST)
            raise ClaimLost
        return Effect(session, self._queue, self.job_id)


#: `make_interval` takes years, months, weeks, days, hours and minutes before the seconds.
_SECONDS = (0, 0, 0, 0, 0, 0)
