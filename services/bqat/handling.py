"""The handler of bqat's jobs: finds out what a task is, and has it done."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat.analysing import Analyst
from services.bqat.domain import Kind, Task, TaskId
from services.bqat.preprocessing import Preprocessor
from services.bqat.repository import TaskRepository
from services.bqat.scanning import Scanner
from services.bqat.tables import TaskRow
from shared.jobs import Claim, Failure


class Tasks:
    """Does tasks of every kind; see `shared.jobs.JobHandler`."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        scanner: Scanner,
        analyst: Analyst,
        preprocessor: Preprocessor,
    ) -> None:
        self._sessions = sessions
        self._scanner = scanner
        self._analyst = analyst
        self._preprocessor = preprocessor

    async def run(self, claim: Claim) -> Mapping[str, Any] | None:
        """Do one task."""
        task = await self._read(TaskId(claim.job_id))
        if task.kind is Kind.SCAN:
            return await self._scanner.run(claim, task)
        if task.kind is Kind.OUTLIERS:
            return await self._analyst.detect(claim, task)
        if task.kind is Kind.REPORT:
            return await self._analyst.report(claim, task)
        return await self._preprocessor.run(claim, task)

    async def _read(self, task_id: TaskId) -> Task:
        async with self._sessions() as session:
            return await TaskRepository(session).get(task_id, None)

    async def on_failed(self, session: AsyncSession, job_id: UUID, failure: Failure) -> None:
        """Note when."""
        await _touch(session, job_id)

    async def on_cancelled(self, session: AsyncSession, job_id: UUID) -> None:
        """Note when; what was assessed stays."""
        await _touch(session, job_id)


async def _touch(session: AsyncSession, job_id: UUID) -> None:
    await session.execute(
        update(TaskRow).where(TaskRow.id == job_id).values(modified_at=func.now())
    )
