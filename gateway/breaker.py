"""When to stop asking a service for a moment, and when a failed request may be asked again."""

from dataclasses import dataclass, field
from typing import Final

_CONSECUTIVE: Final = 5
_WINDOW_S: Final = 10.0
_WINDOW_MIN: Final = 20
_FAILING_SHARE: Final = 0.5
_FIRST_PAUSE_S: Final = 0.25
#: A service that was killed is to be asked again within a moment of its return.
_LONGEST_PAUSE_S: Final = 0.5


@dataclass(slots=True)
class Breaker:
    """Opens after failures in a row, or when half of many fail; a probe closes it again.

    Times are seconds of any monotonic clock, always given by the caller.
    """

    is_open: bool = False
    probe_at: float = 0.0
    """When the service may next be probed."""
    consecutive: int = 0
    _pause_s: float = _FIRST_PAUSE_S
    _window_began: float = 0.0
    _succeeded: int = 0
    _failed: int = 0

    def succeeded(self) -> None:
        """The service answered."""
        self.consecutive = 0
        self._succeeded += 1

    def failed(self, now: float) -> bool:
        """The service did not answer; tells whether this opened the breaker."""
        if now - self._window_began > _WINDOW_S:
            self._window_began, self._succeeded, self._failed = now, 0, 0
        self.consecutive += 1
        self._failed += 1
        asked = self._succeeded + self._failed
        is_failing = asked >= _WINDOW_MIN and self._failed >= _FAILING_SHARE * asked
        if self.is_open or (self.consecutive < _CONSECUTIVE and not is_failing):
            return False
        self.open(now)
        return True

    def open(self, now: float) -> None:
        """Stop asking; the next probe is due after a pause that grows."""
        self.is_open = True
        self.probe_at = now + self._pause_s

    def probe_failed(self, now: float) -> None:
        """The service is still away."""
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self.open(now)

    def close(self) -> None:
        """The service answered a probe: ask it again."""
        self.is_open = False
        self.consecutive = self._succeeded = self._failed = 0
        self._pause_s = _FIRST_PAUSE_S


@dataclass(slots=True)
class RetryBudget:
    """Retries may be a tenth of the requests, and a few at once after a quiet time."""

    share: float = 0.1
    most: float = 10.0
    _saved: float = field(default=3.0)

    def requested(self) -> None:
        """A request was made."""
        if self._saved < self.most:
            self._saved += self.share

    def take(self) -> bool:
        """Whether one more retry is within the budget; if so it is spent."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
