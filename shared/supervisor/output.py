"""One terminal for many processes: every line begins with the name of who wrote it."""

import os
import sys
import threading
from collections import deque

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)
_WIDTH = 8
_MOST_WAITING = 20_000
_LONGEST_LINE_BYTES = 64 * 1024


class Output:
    """Writes lines from its own thread, so that a paused terminal pauses nobody.

    When the terminal stays paused, the oldest lines that wait are dropped, and that is said.
    """

    def __init__(self, descriptor: int = 1, *, colour: bool | None = None) -> None:
        """Begin to write to `descriptor`, in colours when it is a terminal."""
        self._descriptor = descriptor
        self.is_terminal = os.isatty(descriptor)
        self._colour = self.is_terminal if colour is None else colour
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._colours: dict[str, int] = {}
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def line(self, name: str, text: str | bytes) -> None:
        """Show one line of `name`."""
        body = text.encode(errors="replace") if isinstance(text, str) else text
        self._put(self._prefix(name) + body[:_LONGEST_LINE_BYTES].rstrip() + b"\n")

    def plain(self, text: str) -> None:
        """Show text as it is."""
        self._put(text.encode(errors="replace") + b"\n")

    def _prefix(self, name: str) -> bytes:
        shown = f"{name:<{_WIDTH}} │ "
        if self._colour:
            number = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            shown = f"\x1b[{number}m{shown}\x1b[0m"
        return shown.encode()

    def _put(self, line: bytes) -> None:
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(line)
            self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
                block = b"".join(self._waiting)
                self._waiting.clear()
                if self._dropped:
                    block = f"({self._dropped} lines were dropped)\n".encode() + block
                    self._dropped = 0
            try:
                while block:
                    block = block[os.write(self._descriptor, block) :]
            except BlockingIOError:
                # Somebody else made the terminal non-blocking; what does not fit is lost.
                continue
            except OSError:
                # Nobody reads any more (`vedette up | head`); the platform goes on without.
                self._descriptor = os.open(os.devnull, os.O_WRONLY)

    def close(self, *, patience_s: float = 1.0) -> None:
        """Write what waits, unless the terminal takes nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience_s)


def standard_output() -> Output:
    """The output of this process."""
    sys.stdout.flush()
    return Output(1)
