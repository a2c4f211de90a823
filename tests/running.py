"""Supervisors that run in processes of their own, and what they have written."""

import contextlib
import random
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.holding import eventually

#: Below what the kernel gives to outgoing connections, which would take a port after it was chosen.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000


def free_ports(count: int = 2) -> int:
    """The first of `count` ports in a row that are free."""
    while True:
        port = random.randrange(_FIRST_PORT, _LAST_PORT - count)
        with contextlib.ExitStack() as stack:
            try:
                for offset in range(count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port


@dataclass
class Running:
    """A supervisor that runs, and every line it has written."""

    process: subprocess.Popen[str]
    home: Path
    port: int
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen in the background, so that the supervisor never waits for us."""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """Everything it has written."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, within_s: float = 20, times: int = 1) -> list[str]:
        """The matches of `pattern`, as soon as there are `times` of them."""
        found: list[str] = []

        def seen() -> bool:
            nonlocal found
            found = re.findall(pattern, self.text)
            return len(found) >= times

        assert eventually(seen, within_s=within_s), f"{pattern} is not in\n{self.text}"
        return found

    def wait_until_ready(self) -> None:
        """Wait for the welcome."""
        self.wait_for("Vedette is ready")

    def process_ids(self) -> list[int]:
        """Every stand-in that has said its number."""
        return [int(number) for number in re.findall(r"(?:pid|grandchild) (\d+)", self.text)]

    def end(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 15) -> float:
        """Send a signal and wait; return how long it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(within_s)
        self._listener.join(5)
        return time.monotonic() - begun


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
