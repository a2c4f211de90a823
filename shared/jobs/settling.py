"""How a run ends: each way is one transaction that holds only under the claim's fence."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, literal, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.jobs.claims import Claim, commit_whole
from shared.jobs.delivery import Ticket, deliver
from shared.jobs.errors import ClaimLost
from shared.jobs.handler import Failure, JobHandler, Patience
from shared.jobs.queue import JobQueue
from shared.jobs.states import JobStatus

_SECONDS = (0, 0, 0, 0, 0, 0)


class Settling:
    """Writes the ends of runs of one service's jobs."""

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

    async def complete(self, claim: Claim, result: Mapping[str, Any] | None) -> None:
        """The handler has returned."""
        if not claim.finished:
            async with claim.effect() as effect:
                await effect.complete(result)

    async def fail(self, claim: Claim, failure: Failure) -> None:
        """The job has failed for good."""
        async with claim.effect() as effect:
            await effect.fail(failure.code, failure.detail)
            await self._handler.on_failed(effect.session, claim.job_id, failure)

    async def cancel(self, claim: Claim) -> None:
        """The job was running when it was cancelled."""
        async with claim.effect() as effect:
            await effect.set(
                status=JobStatus.CANCELLED,
                lease_until=None,
                worker=None,
                finished_at=func.now(),
            )
            await self._handler.on_cancelled(effect.session, claim.job_id)

    async def pause(self, claim: Claim) -> None:
        """The job was running when it was paused; what its effects wrote stays."""
        async with claim.effect() as effect:
            await effect.set(
                status=JobStatus.PAUSED,
                pause_requested=False,
                lease_until=None,
                worker=None,
                fence=self._queue.table.c.fence + 1,
            )

    async def hand_back(self, claim: Claim, *, delay_s: float = 0) -> None:
        """Another worker goes on with it; nothing is held against the job."""
        await self._queue_again(claim, delay_s=delay_s)

    async def retry(self, claim: Claim, failures: int, detail: str, delay_s: float | None) -> None:
        """An attempt has failed: try again later, or give up."""
        if failures >= self._patience.most_failures:
            detail = f"{failures} attempts failed; the last one: {detail}"
            await self.fail(claim, Failure("gave-up", detail))
            return
        if delay_s is None:
            delay_s = self._patience.retry_s(failures)
        await self._queue_again(claim, delay_s=delay_s, failures=failures, error=detail)

    async def _queue_again(self, claim: Claim, *, delay_s: float, **columns: Any) -> None:
        jobs = self._queue.table.c
        async with self._sessions() as session:
            fence = await session.scalar(
                update(self._queue.table)
                .where(
                    jobs.id == claim.job_id,
                    jobs.fence == claim.fence,
                    jobs.status == JobStatus.RUNNING,
                )
                .values(
                    status=JobStatus.QUEUED,
                    fence=jobs.fence + 1,
                    lease_until=None,
                    worker=None,
                    run_after=func.now() + func.make_interval(*_SECONDS, literal(delay_s)),
                    **columns,
                )
                .returning(jobs.fence)
            )
            if fence is None:
                raise ClaimLost
            await deliver(
                session, self._queue.schema, [Ticket(claim.job_id, fence)], delay_s=delay_s
            )
            await commit_whole(session)
