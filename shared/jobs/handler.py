"""What a service brings so that workers can do its jobs, and how patient they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.jobs.claims import Claim


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has failed for good."""

    code: str
    """`poison` when worker after worker died of it, `gave-up` after too many failed attempts, else
    what the handler said."""
    detail: str


class JobHandler(Protocol):
    """A service's side of its jobs."""

    async def run(self, claim: Claim) -> Mapping[str, Any] | None:
        """Do the job.

        What it brings is written with `claim.effect()`. Unless an effect has ended the run, the
        job completes when this returns, and what it returns is the row's `result`. It may raise
        `JobFailed` or `RetryLater`; any other exception is a failed attempt. When the job is
        cancelled, paused, lost or drained, the task is cancelled at its next `await`.
        """
        ...

    async def on_failed(self, session: AsyncSession, job_id: UUID, failure: Failure) -> None:
        """Write what goes with a failure, in the transaction that makes it true."""
        ...

    async def on_cancelled(self, session: AsyncSession, job_id: UUID) -> None:
        """Write what goes with a cancellation, in the transaction that makes it true."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker waits for what."""

    lease_s: float = 30
    """A worker that is not heard of for so long has died; above the longest stall of a process."""
    sweep_s: float = 2
    """How often jobs of dead workers are looked for."""
    most_deaths: int = 3
    """So many dead workers make a job poison."""
    most_failures: int = 5
    """So many failed attempts make a job fail."""
    first_retry_s: float = 2
    """The pause after the first failed attempt; it doubles with each."""
    longest_retry_s: float = 300
    grace_s: float = 7
    """How long jobs may go on when the process is told to stop; then another worker has them."""

    @property
    def renew_s(self) -> float:
        """How often leases are renewed."""
        return self.lease_s / 3

    def retry_s(self, failures: int) -> float:
        """The pause after the given number of failed attempts."""
        return float(min(self.longest_retry_s, self.first_retry_s * 2 ** min(failures - 1, 20)))
