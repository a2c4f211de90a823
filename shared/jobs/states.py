"""What a job can be, what can be asked of it, and what the callers of the queue are told."""

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The state of a job, as its row says it."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    """Nothing goes on before a person decides."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A job in one of these may still change.
LIVE: Final = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.HELD)
#: A job in one of these never changes again.
FINISHED: Final = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Outcome(StrEnum):
    """What became of a wish about a job."""

    DONE = "done"
    """The row says it; what goes with it belongs into the same transaction."""
    ASKED = "asked"
    """A worker has the job; it will stop within a moment and finish the wish itself."""
    NOT_NOW = "not-now"
    """The job is in a state that this wish does not fit, or there is no such job."""


class Stop(StrEnum):
    """Why a worker ends a run before its handler has finished."""

    CANCEL = "cancel"
    PAUSE = "pause"
    DRAIN = "drain"
    """The process is about to end; another one goes on with the job."""
    LOST = "lost"
    """Another worker has the job, because this one was not heard of in time."""
