"""One run of a handler, from the claim to the transaction that ends it."""

import asyncio
import time
from typing import Final

import structlog

from shared.db import DatabaseAway
from shared.jobs.claims import Claim
from shared.jobs.errors import AWAY, ClaimLost, JobFailed, RetryLater
from shared.jobs.handler import Failure, JobHandler
from shared.jobs.metrics import ATTEMPTS, RUN_S
from shared.jobs.settling import Settling
from shared.jobs.states import Stop

log = structlog.get_logger(__name__)

_SETTLE_AGAIN_S: Final = 1.0


class Run:
    """A handler at work on one claimed job."""

    def __init__(
        self, claim: Claim, failures: int, handler: JobHandler, settling: Settling
    ) -> None:
        self.claim = claim
        self._failures = failures
        self._handler = handler
        self._settling = settling
        self._handling: asyncio.Task[object] | None = None

    def interrupt(self, why: Stop) -> None:
        """Cancel the handler at its next `await`."""
        self.claim.ask_to_stop(why)
        if self._handling is not None:
            self._handling.cancel()

    async def go(self) -> None:
        """Run the handler and write how it ended."""
        begun = time.monotonic()
        service, job_id = self.claim.service, str(self.claim.job_id)
        with structlog.contextvars.bound_contextvars(job=job_id, attempt=self.claim.attempts):
            ended = await self._go()
            seconds = time.monotonic() - begun
            RUN_S.labels(service).observe(seconds)
            ATTEMPTS.labels(service, ended).inc()
            log.info("job_run_ended", ended=ended, seconds=round(seconds, 3))

    async def _go(self) -> str:
        self._handling = asyncio.create_task(self._handler.run(self.claim))
        try:
            await asyncio.wait([self._handling])
        except asyncio.CancelledError:
            self._handling.cancel()
            raise
        while True:
            try:
                return await self._settle(self._handling)
            except ClaimLost:
                return "lost"
            except AWAY as error:
                # Nobody else can have the job before its lease ends, so there is time to try.
                log.warning("job_not_settled", error=type(error).__name__)
                await asyncio.sleep(_SETTLE_AGAIN_S)

    async def _settle(self, handling: "asyncio.Task[object]") -> str:
        claim, settling = self.claim, self._settling
        if claim.finished:
            return "completed"
        if claim.stop is Stop.LOST:
            return "lost"
        if handling.cancelled() and claim.stop is not None:
            return await self._settle_stop(claim.stop)
        error = asyncio.CancelledError() if handling.cancelled() else handling.exception()
        if error is None:
            result = handling.result()
            await settling.complete(claim, result if isinstance(result, dict) else None)
            return "completed"
        if isinstance(error, ClaimLost):
            return "lost"
        if isinstance(error, JobFailed):
            await settling.fail(claim, Failure(error.code, error.detail))
            return "failed"
        if isinstance(error, DatabaseAway):
            await settling.hand_back(claim, delay_s=_SETTLE_AGAIN_S)
            return "handed-back"
        if isinstance(error, RetryLater):
            detail, delay_s = error.detail, error.delay_s
        else:
            log.error("job_attempt_failed", exc_info=error)
            detail, delay_s = type(error).__name__, None
        await settling.retry(claim, self._failures + 1, detail, delay_s)
        return "retried"

    async def _settle_stop(self, why: Stop) -> str:
        if why is Stop.CANCEL:
            await self._settling.cancel(self.claim)
            return "cancelled"
        if why is Stop.PAUSE:
            await self._settling.pause(self.claim)
            return "paused"
        await self._settling.hand_back(self.claim)
        return "handed-back"
