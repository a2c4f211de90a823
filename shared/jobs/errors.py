"""What a handler raises, and what it and the callers of the queue are told."""

from uuid import UUID

import asyncpg
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.problems import Unavailable

#: What the worker's own statements raise while the database is away, restarting, full, or drops a
#: connection. A handler's exceptions are judged more narrowly: its timeout is a failed attempt.
AWAY: tuple[type[Exception], ...] = (
    Unavailable,
    PoolTimeout,
    OperationalError,
    InterfaceError,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class JobFailed(Exception):
    """Raised by a handler: this job can never succeed, however often it is tried."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class RetryLater(Exception):
    """Raised by a handler: it may succeed later; counts as a failed attempt."""

    def __init__(self, detail: str, *, delay_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.delay_s = delay_s


class ClaimLost(Exception):
    """The job is no longer this worker's: nothing of the transaction was written."""


class DuplicateJob(Exception):
    """The tenant has a live job with the same key already."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"job {job_id} is the same")
        self.job_id = job_id
