"""One process of the platform: started, listened to, started again, and ended."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shared.lifeline import tethered
from shared.supervisor.output import Output
from shared.supervisor.programs import Program

#: A life shorter than this counts as a failure to start.
SHORT_LIFE_S = 10.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 5.0
_LONGEST_LINE_BYTES = 64 * 1024


def restart_delay_s(short_lives: int) -> float:
    """How long to wait before the next start: nothing the first time, then longer and longer."""
    if short_lives <= 1:
        return 0.0
    return float(min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(short_lives - 2, 10)))


def describe_end(code: int) -> str:
    """What an exit status says."""
    if code >= 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


class Child:
    """Keeps one program running until it is told to stop."""

    def __init__(
        self,
        program: Program,
        environment: Mapping[str, str],
        output: Output,
        *,
        folder: Path,
        on_short_life: Callable[["Child"], None],
    ) -> None:
        """Prepare; `run` starts it.

        Args:
            program: what to run.
            environment: all that it sees of ours.
            output: where its lines go.
            folder: its working directory.
            on_short_life: told whenever it ended soon after it was started.
        """
        self.program = program
        self.short_lives = 0
        self._environment = dict(environment)
        self._output = output
        self._folder = folder
        self._on_short_life = on_short_life
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self.gone = asyncio.Event()

    @property
    def process_id(self) -> int | None:
        """The process while it lives."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and alive else None

    async def run(self) -> None:
        """Start it, and start it again whenever it ends, until `stop`."""
        try:
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    end = describe_end(await self._live())
                except OSError as error:
                    end = f"cannot be started: {error.strerror}"
                if self._stopping.is_set():
                    return
                lived_s = time.monotonic() - begun
                self.short_lives = self.short_lives + 1 if lived_s < SHORT_LIFE_S else 1
                delay_s = restart_delay_s(self.short_lives)
                when = f"in {delay_s:g} s" if delay_s else "now"
                self._output.line(self.program.name, f"{end}; it is started again {when}")
                if lived_s < SHORT_LIFE_S:
                    self._on_short_life(self)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._stopping.wait()
        finally:
            self.gone.set()

    async def _live(self) -> int:
        # A pipe of our own: asyncio's `wait` waits for its pipes too, which a grandchild may hold
        # (python/cpython#119710).
        listening, speaking = os.pipe()
        try:
            # The loop's thread starts it and lives as long as the supervisor, so the tether holds.
            self._process = process = await asyncio.create_subprocess_exec(
                *tethered(self.program.command, last_signal=signal.SIGKILL),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=speaking,
                stderr=speaking,
                cwd=self._folder,
                env=self._environment,
                # A group of its own: Ctrl-C reaches the supervisor alone, which knows the order.
                start_new_session=True,
            )
        except BaseException:
            os.close(listening)
            raise
        finally:
            os.close(speaking)
        if self._stopping.is_set():
            self.send(signal.SIGKILL)
        reader = asyncio.create_task(self._listen(listening))
        try:
            return await process.wait()
        finally:
            # Whatever it started itself ends with it.
            _signal_group(process.pid, signal.SIGKILL)
            _, unfinished = await asyncio.wait([reader], timeout=0.5)
            for task in unfinished:
                task.cancel()

    async def _listen(self, descriptor: int) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", 0)
        )
        try:
            rest = b""
            while block := await stream.read(_LONGEST_LINE_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                if len(rest) > _LONGEST_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._output.line(self.program.name, line)
            if rest:
                self._output.line(self.program.name, rest)
        finally:
            transport.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, SIGKILL to all that it started as well."""
        pid = self.process_id
        if pid is None:
            return
        if number == signal.SIGKILL:
            _signal_group(pid, number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and do not start it again."""
        self._stopping.set()
        self.send(number)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
