"""Why a request gets no answer from a network."""

from shared.problems import Problem


class EngineBusy(Problem):
    """More requests wait than may wait, or than can be answered in time."""

    status, slug, title = 503, "engine-busy", "Too busy"


class EngineStopped(Problem):
    """The engine is stopping and runs nothing more."""

    status, slug, title = 503, "engine-stopped", "Stopping"


class InferenceDeadline(Problem):
    """The network's answer did not come in the time that the request had."""

    status, slug, title = 504, "inference-deadline", "Inference took too long"


class OutOfMemory(Problem):
    """The networks that are at work leave no memory for this one."""

    status, slug, title = 503, "engine-memory", "No memory for this network now"
