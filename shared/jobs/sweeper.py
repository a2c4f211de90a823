"""Looks after what dead workers leave: expired leases, lost tickets, old records of delivery."""

import time
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.jobs.claims import commit_whole
from shared.jobs.delivery import Ticket, deliver, delivery_settings
from shared.jobs.errors import AWAY
from shared.jobs.handler import Failure, JobHandler, Patience
from shared.jobs.metrics import DEATHS, JOBS, OLDEST_WAIT_S
from shared.jobs.queue import JobQueue
from shared.jobs.states import JobStatus

log = structlog.get_logger(__name__)

_TICKETS_EVERY_S: Final = 15.0
_COUNT_EVERY_S: Final = 5.0
_PRUNE_EVERY_S: Final = 600.0
_MOST_TICKETS: Final = 1000

#: Jobs that could begin and have no ticket of their own. Another job may have used theirs, so not
#: every one of them lacks a ticket; one too many costs one query.
_WITHOUT_TICKET = """
    SELECT job.id, job.fence FROM {jobs} AS job
    WHERE job.status = 'queued' AND job.run_after <= now() - interval '5 seconds'
        AND job.queued_at <= now() - interval '5 seconds'
        AND NOT EXISTS (
            SELECT FROM {tickets} AS ticket
            WHERE ticket.dedupe_key = job.id::text || ':' || job.fence
                AND ticket.status IN ('queued', 'picked')
        )
    LIMIT :most
"""
_COUNT = """
    SELECT status, count(*) AS jobs,
        extract(epoch FROM now() - min(greatest(queued_at, run_after))) AS oldest_s
    FROM {jobs} WHERE status IN ('queued', 'running', 'paused') GROUP BY status
"""
#: Held tickets have served: a job that still waits gets a new one.
_PRUNE = (
    "DELETE FROM {log} WHERE created < now() - interval '1 day'",
    "DELETE FROM {statistics} WHERE created < now() - interval '7 days'",
    "DELETE FROM {tickets} WHERE status = 'failed' AND updated < now() - interval '1 day'",
)


class Sweeper:
    """Looks after the jobs of one service; any number of them may run at once."""

    def __init__(
        self,
        queue: JobQueue,
        handler: JobHandler,
        sessions: async_sessionmaker[AsyncSession],
        patience: Patience,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._sessions = sessions
        self._patience = patience
        names = delivery_settings(queue.schema).qualified
        self._names = {
            "jobs": queue.qualified,
            "tickets": names.queue_table,
            "log": names.queue_table_log,
            "statistics": names.statistics_table,
        }
        now = time.monotonic()
        self._tickets_at = now
        self._count_at = now
        self._prune_at = now + _PRUNE_EVERY_S

    async def sweep(self) -> None:
        """Look once."""
        await self._bury()
        now = time.monotonic()
        if now >= self._count_at:
            self._count_at = now + _COUNT_EVERY_S
            await self._count()
        if now >= self._tickets_at:
            self._tickets_at = now + _TICKETS_EVERY_S
            await self._replace_tickets()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY_S
            await self._prune()

    async def _bury(self) -> None:
        """Queue the jobs of dead workers again; one that killed too many is poison."""
        failed: list[UUID] = []
        while True:
            async with self._sessions() as session:
                job = await self._next_orphan(session, failed)
                if job is None:
                    return
                try:
                    await self._settle_orphan(session, job)
                except AWAY:
                    raise
                except Exception as error:  # a service's callback may raise anything
                    log.error("orphan_not_settled", job=str(job.id), exc_info=error)
                    failed.append(job.id)
                else:
                    await commit_whole(session)
                    DEATHS.labels(self._queue.schema).inc()

    async def _next_orphan(self, session: AsyncSession, failed: list[UUID]) -> Any:
        jobs = self._queue.table.c
        found: Any = (
            await session.execute(
                select(
                    jobs.id, jobs.fence, jobs.deaths, jobs.cancel_requested, jobs.pause_requested
                )
                .where(
                    jobs.status == JobStatus.RUNNING,
                    jobs.lease_until < func.clock_timestamp(),
                    jobs.id.not_in(failed),
                )
                .order_by(jobs.lease_until)
                .limit(1)
                # What is locked is being written to by its worker, which therefore lives.
                .with_for_update(skip_locked=True)
            )
        ).one_or_none()
        return found

    async def _settle_orphan(self, session: AsyncSession, job: Any) -> None:
        deaths, fence = job.deaths + 1, job.fence + 1
        change: dict[str, Any] = {
            "deaths": deaths,
            "fence": fence,
            "lease_until": None,
            "worker": None,
        }
        if job.cancel_requested:
            change |= {"status": JobStatus.CANCELLED, "finished_at": func.now()}
            await self._handler.on_cancelled(session, job.id)
        elif deaths >= self._patience.most_deaths:
            failure = Failure("poison", f"{deaths} workers died or stalled on this job.")
            change |= {
                "status": JobStatus.FAILED,
                "finished_at": func.now(),
                "error_code": failure.code,
                "error": failure.detail,
            }
            await self._handler.on_failed(session, job.id, failure)
            log.error("job_poisoned", job=str(job.id), deaths=deaths)
        elif job.pause_requested:
            change |= {"status": JobStatus.PAUSED, "pause_requested": False}
        else:
            change |= {"status": JobStatus.QUEUED}
            await deliver(session, self._queue.schema, [Ticket(job.id, fence)])
            log.warning("job_orphaned", job=str(job.id), deaths=deaths)
        table = self._queue.table
        await session.execute(update(table).where(table.c.id == job.id).values(**change))

    async def _replace_tickets(self) -> None:
        async with self._sessions.begin() as session:
            if not await self._is_my_turn(session, "tickets"):
                return
            statement = text(_WITHOUT_TICKET.format(**self._names))
            found = (await session.execute(statement, {"most": _MOST_TICKETS})).all()
            await deliver(session, self._queue.schema, [Ticket(job.id, job.fence) for job in found])

    async def _count(self) -> None:
        async with self._sessions.begin() as session:
            rows = (await session.execute(text(_COUNT.format(**self._names)))).all()
        found = {row.status: row for row in rows}
        service = self._queue.schema
        for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED):
            JOBS.labels(service, status).set(found[status].jobs if status in found else 0)
        queued = found.get(JobStatus.QUEUED)
        OLDEST_WAIT_S.labels(service).set(max(0.0, float(queued.oldest_s)) if queued else 0)

    async def _prune(self) -> None:
        async with self._sessions.begin() as session:
            if await self._is_my_turn(session, "prune"):
                for statement in _PRUNE:
                    await session.execute(text(statement.format(**self._names)))

    async def _is_my_turn(self, session: AsyncSession, what: str) -> bool:
        name = f"vedette-jobs-{self._queue.schema}-{what}"
        statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
        return bool(await session.scalar(statement, {"name": name}))
