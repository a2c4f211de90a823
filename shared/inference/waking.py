"""A condition that wakes whoever began to wait last."""

import threading
from types import TracebackType


class LatestFirst:
    """Like `threading.Condition`, whose longest sleeper is woken first, but the other way round.

    With less to do than there are threads, the same few do all of it: what they touched last is
    still in their core's cache, and their memory in the allocator's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asleep: list[threading.Lock] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def wait(self) -> None:
        """Let go of the lock until somebody notifies, then take it again."""
        gate = threading.Lock()
        gate.acquire()
        self._asleep.append(gate)
        self._lock.release()
        try:
            gate.acquire()
        finally:
            self._lock.acquire()

    def notify(self, count: int = 1) -> None:
        """Wake the `count` who began to wait last; whoever calls holds the lock."""
        for _ in range(min(count, len(self._asleep))):
            self._asleep.pop().release()

    def notify_all(self) -> None:
        """Wake everybody; whoever calls holds the lock."""
        self.notify(len(self._asleep))
