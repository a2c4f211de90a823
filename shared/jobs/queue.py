"""What a service does with its jobs inside a request: add, cancel, pause, resume, reorder.

Every method writes in the session it is given and commits nothing, so that the job, what belongs
to it and the word to the workers become true at the same instant or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Table, case, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.jobs.columns import JobColumns
from shared.jobs.delivery import Ticket, deliver, signal_channel
from shared.jobs.errors import DuplicateJob
from shared.jobs.states import JobStatus, Outcome


@dataclass(frozen=True, slots=True)
class JobQueue:
    """The jobs of one service: a table of its own schema."""

    rows: type[JobColumns]
    """The declarative class of the job table."""

    @property
    def table(self) -> Table:
        """The job table."""
        table: Table = self.rows.__table__  # type: ignore[attr-defined]  # a declarative class has one
        return table

    @property
    def schema(self) -> str:
        """The service's schema, which is its name as well."""
        assert self.table.schema is not None
        return self.table.schema

    @property
    def qualified(self) -> str:
        """The table as SQL text names it."""
        return f'"{self.schema}"."{self.table.name}"'

    async def add(self, session: AsyncSession, job: JobColumns) -> None:
        """Insert a job and tell the workers.

        Raises:
            DuplicateJob: a live job of this tenant has the same `dedupe_key`; nothing is written
                and the session can be used further.
        """
        tenant, key = job.tenant, job.dedupe_key
        try:
            async with session.begin_nested():
                session.add(job)
                await session.flush()
        except IntegrityError as error:
            same = None if key is None else await self.find_live(session, tenant, key)
            if same is None:
                raise
            raise DuplicateJob(same) from error
        await deliver(session, self.schema, [Ticket(job.id, 0)])

    async def find_live(self, session: AsyncSession, tenant: str, dedupe_key: str) -> UUID | None:
        """The tenant's live job with this key."""
        found: UUID | None = await session.scalar(
            select(self.table.c.id).where(
                self.table.c.tenant == tenant,
                self.table.c.dedupe_key == dedupe_key,
                self.table.c.status.in_(
                    (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.HELD)
                ),
            )
        )
        return found

    async def cancel(self, session: AsyncSession, job_id: UUID) -> Outcome:
        """End a job for good.

        `DONE`: it had not begun or was waiting for somebody; the caller undoes now, in this
        session, what `on_cancelled` would. `ASKED`: its worker stops and calls `on_cancelled`.
        """
        jobs = self.table.c
        waiting = (JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.HELD)
        return await self._wish(
            session,
            job_id,
            waiting,
            {
                "status": JobStatus.CANCELLED,
                "finished_at": func.now(),
                "fence": jobs.fence + 1,
                "cancel_requested": True,
            },
            {"cancel_requested": True},
        )

    async def pause(self, session: AsyncSession, job_id: UUID) -> Outcome:
        """Let nobody work on a job until `resume`."""
        return await self._wish(
            session,
            job_id,
            (JobStatus.QUEUED,),
            {"status": JobStatus.PAUSED, "fence": self.table.c.fence + 1},
            {"pause_requested": True},
        )

    async def resume(self, session: AsyncSession, job_id: UUID) -> Outcome:
        """Let a job that was paused or held wait for its turn again."""
        jobs = self.table.c
        found = (
            await session.execute(
                update(self.table)
                .where(
                    jobs.id == job_id,
                    jobs.status.in_((JobStatus.PAUSED, JobStatus.HELD, JobStatus.RUNNING)),
                )
                .values(
                    # A worker that has not stopped yet simply goes on.
                    pause_requested=False,
                    status=case(
                        (jobs.status == JobStatus.RUNNING, jobs.status), else_=JobStatus.QUEUED
                    ),
                    queued_at=case(
                        (jobs.status == JobStatus.RUNNING, jobs.queued_at), else_=func.now()
                    ),
                )
                .returning(jobs.status, jobs.fence)
            )
        ).one_or_none()
        if found is None:
            return Outcome.NOT_NOW
        if found.status == JobStatus.QUEUED:
            await deliver(session, self.schema, [Ticket(job_id, found.fence)])
        return Outcome.DONE

    async def move_to_front(self, session: AsyncSession, job_id: UUID) -> Outcome:
        """Make a waiting job the next of its tenant."""
        jobs = self.table.c
        others = self.table.alias()
        highest = (
            select(func.max(others.c.priority))
            .where(others.c.tenant == jobs.tenant, others.c.status == JobStatus.QUEUED)
            .scalar_subquery()
        )
        moved = await session.execute(
            update(self.table)
            .where(jobs.id == job_id, jobs.status.in_((JobStatus.QUEUED, JobStatus.PAUSED)))
            .values(priority=func.coalesce(highest, jobs.priority) + 1)
            .returning(jobs.id)
        )
        return Outcome.NOT_NOW if moved.one_or_none() is None else Outcome.DONE

    async def _wish(
        self,
        session: AsyncSession,
        job_id: UUID,
        waiting: Sequence[JobStatus],
        at_once: Mapping[str, Any],
        request: Mapping[str, Any],
    ) -> Outcome:
        jobs = self.table.c
        # The lock keeps a worker from claiming the job between the two statements.
        status = await session.scalar(
            select(jobs.status).where(jobs.id == job_id).with_for_update()
        )
        if status in waiting:
            await session.execute(update(self.table).where(jobs.id == job_id).values(**at_once))
            return Outcome.DONE
        if status != JobStatus.RUNNING:
            return Outcome.NOT_NOW
        await session.execute(update(self.table).where(jobs.id == job_id).values(**request))
        await session.execute(
            text("SELECT pg_notify(:channel, :job)"),
            {"channel": signal_channel(self.schema), "job": str(job_id)},
        )
        return Outcome.ASKED
