"""A process of our own that reads files which nobody trusts, and what it is asked and answers."""

import os
import signal
import subprocess
import sys
from typing import Final, Self

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from shared.imaging.wire import LENGTHS, READY
from shared.lifeline import tethered

_START_TIMEOUT_S = 60.0

#: What `ask` raises when the process ended instead of answering.
DIED: Final = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError)


class ReadingProcess:
    """One such process, and the reading end of its answers."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._replies = BufferedByteReceiveStream(process.stdout)

    @classmethod
    async def start(cls, module: str, memory_bytes: int) -> Self:
        """Start a process that sees our modules and none of our environment, and ends with us.

        Args:
            module: what it runs, with `memory_bytes` as its argument; it answers requests as
                `shared.imaging.child` does.
            memory_bytes: by how much it may grow.
        """
        command = [sys.executable, "-m", module, str(memory_bytes)]
        process = await anyio.open_process(
            tethered(command, last_signal=signal.SIGKILL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        child = cls(process)
        is_ready = False
        try:
            with anyio.move_on_after(_START_TIMEOUT_S):
                is_ready = await child.says_ready()
        finally:
            if not is_ready:
                await child.stop()
        if not is_ready:
            raise RuntimeError("The process that reads pictures does not start.")
        return child

    @property
    def pid(self) -> int:
        """The operating system's name for it."""
        return self._process.pid

    async def says_ready(self) -> bool:
        """Wait for the first byte; False if the process ends without one."""
        try:
            return await self._replies.receive_exactly(len(READY)) == READY
        except anyio.IncompleteRead:
            return False

    async def ask(self, request: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """Send one request and wait for the head and body of its reply."""
        assert self._process.stdin is not None
        for part in request:
            await self._process.stdin.send(part)
        head_bytes, body_bytes = LENGTHS.unpack(await self._replies.receive_exactly(LENGTHS.size))
        head = await self._replies.receive_exactly(head_bytes)
        return head, await self._replies.receive_exactly(body_bytes) if body_bytes else b""

    async def stop(self) -> None:
        """End the process whatever it is doing."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()
