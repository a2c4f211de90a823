"""A crew of processes that assess samples: as many as cores, one sample at a time in each.

A sample that takes too long, or kills its process, costs a process and nothing else: the process is
replaced, a sample that killed one is tried once more by a fresh one, and then it has failed. Since
a process has one sample at a time, it is always known which one it was.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog
from prometheus_client import Counter, Histogram

from services.bqat.assessing import READY, REPLY, REQUEST
from services.bqat.domain import Measured, Modality, Sample
from shared.lifeline import tethered

log = structlog.get_logger(__name__)

_START_TIMEOUT_S: Final = 120.0
#: A process that has had nothing to do for so long ends, and gives its networks' memory back.
_IDLE_S: Final = 20.0
_LONGEST_REPLY_BYTES: Final = 4 * 1024 * 1024
_KEPT_VARIABLES: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "VEDETTE_HOME",
    "VEDETTE_EVIDENCE",
    "TMPDIR",
)

SAMPLES = Counter(
    "vedette_bqat_samples_total",
    "Assessed samples by what became of them: profiled, refused, timeout, crashed.",
    ["modality", "ended"],
)
SECONDS = Histogram(
    "vedette_bqat_sample_seconds",
    "Time that a process spends on one sample.",
    ["modality"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)


class CrewFailed(RuntimeError):
    """No process can be started; scans cannot go on."""


class _Died(Exception):
    """The process is gone, and gave no answer."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be assessed, and how."""

    modality: Modality
    engine: str | None
    options: Mapping[str, Any]


class Crew:
    """Assesses samples in processes of its own; they start when there is something to do."""

    def __init__(
        self,
        size: int,
        *,
        timeout_s: float = 60.0,
        memory_bytes: int = 4 * 1024**3,
        module: str = "services.bqat.assessing",
        home: Path | None = None,
        idle_s: float = _IDLE_S,
    ) -> None:
        """Prepare.

        Args:
            size: how many processes.
            timeout_s: how long one sample may take.
            memory_bytes: how much address space a process may gain.
            module: what the processes run.
            home: where installed networks are looked for; unset: as the environment says.
            idle_s: how long a process waits for more before it ends.
        """
        self._idle_s = idle_s
        self.size = size
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._module = module
        self._home = home
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._is_closed = False
        self._resting: dict[_Process, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        """End every process."""
        self._is_closed = True
        for timer in self._resting.values():
            timer.cancel()
        await asyncio.gather(*(process.end() for process in list(self._all)), *self._ending)

    def process_ids(self) -> list[int]:
        """The processes that live."""
        return [process.pid for process in self._all]

    async def assess(self, order: Order, sample: Sample, content: bytes) -> Measured:
        """What becomes of one sample; it always becomes something.

        Raises:
            CrewFailed: no process starts.
        """
        head = {
            "modality": order.modality,
            "file_name": sample.file,
            "engine": order.engine,
            "options": dict(order.options),
        }
        begun = asyncio.get_running_loop().time()
        for _ in range(2):
            try:
                answer = await self._ask(head, content)
            except TimeoutError:
                SAMPLES.labels(order.modality, "timeout").inc()
                log.warning("sample_timed_out", timeout_s=self._timeout_s)
                limit = f"The sample took longer than {self._timeout_s:g} s."
                return Measured(sample, {}, "rules", failure=limit)
            except _Died:
                log.warning("assessor_died")
                continue
            SECONDS.labels(order.modality).observe(asyncio.get_running_loop().time() - begun)
            return _read(order, sample, answer)
        SAMPLES.labels(order.modality, "crashed").inc()
        return Measured(sample, {}, "rules", failure="The sample ended the process that read it.")

    async def _ask(self, head: Mapping[str, Any], content: bytes) -> Mapping[str, Any]:
        async with self._slots:
            process = self._wake() or await self._start()
            is_usable = False
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await process.ask(head, content)
                is_usable = True
                return answer
            finally:
                if is_usable and not self._is_closed:
                    self._rest(process)
                else:
                    self._all.discard(process)
                    await process.end()

    def _wake(self) -> "_Process | None":
        """A process that waits, the one that worked last."""
        if not self._idle:
            return None
        process = self._idle.pop()
        self._resting.pop(process).cancel()
        return process

    def _rest(self, process: "_Process") -> None:
        """Let a process wait for more, but not for ever."""
        self._idle.append(process)
        loop = asyncio.get_running_loop()
        self._resting[process] = loop.call_later(self._idle_s, self._dismiss, process)

    def _dismiss(self, process: "_Process") -> None:
        self._idle.remove(process)
        del self._resting[process]
        self._all.discard(process)
        ending = asyncio.create_task(process.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _start(self) -> "_Process":
        if self._is_closed:
            raise CrewFailed("The crew is closed.")
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        if self._home is not None:
            environment["VEDETTE_HOME"] = str(self._home)
        command = [sys.executable, "-m", self._module, str(self._memory_bytes)]
        process = _Process(
            await asyncio.create_subprocess_exec(
                *tethered(command, last_signal=signal.SIGKILL),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                limit=_LONGEST_REPLY_BYTES,
            )
        )
        self._all.add(process)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await process.wait_until_ready()
        except (_Died, TimeoutError, asyncio.CancelledError) as error:
            self._all.discard(process)
            await process.end()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise CrewFailed("The process that assesses samples does not start.") from error
        return process


class _Process:
    """One assessing process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout

    @property
    def pid(self) -> int:
        """The operating system's name for it."""
        return self._process.pid

    async def wait_until_ready(self) -> None:
        """Wait for its first byte."""
        if await self._replies.read(len(READY)) != READY:
            raise _Died

    async def ask(self, head: Mapping[str, Any], content: bytes) -> Mapping[str, Any]:
        """Send one sample and wait for the answer."""
        text = json.dumps(head).encode()
        try:
            self._requests.write(REQUEST.pack(len(text), len(content)) + text)
            self._requests.write(content)
            await self._requests.drain()
            (length,) = REPLY.unpack(await self._replies.readexactly(REPLY.size))
            if length > _LONGEST_REPLY_BYTES:
                raise _Died
            answer: Mapping[str, Any] = json.loads(await self._replies.readexactly(length))
        except (OSError, EOFError, ValueError) as error:
            raise _Died from error
        return answer

    async def end(self) -> None:
        """End it whatever it is doing."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._requests.close()
        await asyncio.shield(self._process.wait())


def _read(order: Order, sample: Sample, answer: Mapping[str, Any]) -> Measured:
    """An answer, of which nothing is believed that would hurt."""
    failure = answer.get("failure")
    if failure is not None:
        SAMPLES.labels(order.modality, "refused").inc()
        if answer.get("is_input"):
            # As the old server: a file that cannot be read has a profile that says so.
            step = "load audio" if order.modality is Modality.SPEECH else "load image"
            return Measured(sample, {}, "rules", (f"{step}: {failure}",), failure=str(failure))
        return Measured(sample, {}, "rules", failure=str(failure))
    SAMPLES.labels(order.modality, "profiled").inc()
    profile = {
        str(name): value
        for name, value in dict(answer["profile"]).items()
        if value is None or isinstance(value, bool | int | float | str)
    }
    errors = tuple(str(error) for error in answer["errors"])
    return Measured(sample, profile, str(answer["evidence"]), errors)
