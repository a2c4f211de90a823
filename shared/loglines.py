"""A log handler that writes lines which are ready many at a time, and all others at once."""

import asyncio
import logging
from typing import TextIO

_WRITE_S = 0.1
_MOST_WAITING = 256


class LogLines(logging.StreamHandler[TextIO]):
    """Writes JSON lines in the order in which they come.

    A line about each request may be a tenth of a second late; any other is written at once, and
    those that wait go before it. The end of the process loses none, unless it is killed.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def write_soon(self, line: str) -> None:
        """Write a whole line, its end included, within a tenth of a second; from an event loop."""
        self.acquire()
        try:
            self._waiting.append(line)
            if len(self._waiting) >= _MOST_WAITING:
                self.flush()
            elif self._timer is None or self._loop is not asyncio.get_running_loop():
                self._loop = asyncio.get_running_loop()
                self._timer = self._loop.call_later(_WRITE_S, self._ring)
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what waits, then this."""
        self._write_waiting()
        super().emit(record)

    def flush(self) -> None:
        """Write the lines that wait."""
        self.acquire()
        try:
            self._write_waiting()
            super().flush()
        finally:
            self.release()

    def _ring(self) -> None:
        self._timer = None
        if self._waiting:
            self.flush()

    def _write_waiting(self) -> None:
        if self._waiting:
            lines, self._waiting = "".join(self._waiting), []
            self.stream.write(lines)
