"""Looks at photographs in processes of their own.

The service's own process then answers requests while photographs are analysed: the two share no
interpreter lock. A photograph that kills its process, or takes too long, costs that process alone.
A process that has nothing to do ends, and with it the hundreds of megabytes that its networks take.
"""

import asyncio
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Self

import anyio
import structlog

from services.netra.domain import Analysis
from services.netra.settings import Settings
from services.netra.work import Analyser
from shared.imaging import Picture
from shared.problems import Problem
from shared.telemetry import configure_logging

log = structlog.get_logger(__name__)

#: Loads what looks; a function of a module, because the process imports it by its name.
Opener = Callable[[Settings], AbstractContextManager[Analyser]]

#: Requests go first where cores are scarce.
_NICENESS: Final = 5
_START_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 2.0
_TOO_SLOW: Final = "the networks were not loaded in time"
_SPAWNING: Final = multiprocessing.get_context("spawn")


class AnalyserFailed(RuntimeError):
    """The process could not be started, died of a photograph, or raised on it."""


class StillLoading(Exception):
    """The networks are being loaded; photographs wait."""


class _AtRest(AnalyserFailed):
    """The process ended for want of work, just as there was some."""


class ApartAnalyser:
    """See `Analyser`: as many processes as photographs may be looked at at once."""

    def __init__(self, opener: Opener, settings: Settings, count: int) -> None:
        """Start the processes; photographs wait until `load` has seen them load their networks."""
        self._processes = [_Process(opener, settings) for _ in range(count)]
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._is_loaded = False
        for process in self._processes:
            process.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def load(self) -> None:
        """Wait until each process has loaded its networks; call it once.

        Raises:
            AnalyserFailed: one of them could not; the message says why.
        """
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                for process in self._processes:
                    await process.until_begun()
                    self._free.put(process)
        except TimeoutError as error:
            raise AnalyserFailed(_TOO_SLOW) from error
        self._is_loaded = True

    async def check(self) -> str:
        """For `/readyz`: raises `StillLoading` until `load` has ended well."""
        if not self._is_loaded:
            raise StillLoading
        return f"{len(self.process_ids())} of {len(self._processes)} processes"

    def analyse(self, picture: Picture) -> Analysis:
        """See `Analyser`; waits for a process that is free.

        Raises:
            AnalyserFailed: the process died or raised; the next photograph gets a new one.
            TimeoutError: it took longer than `VEDETTE_NETRA_ANALYSIS_TIMEOUT_S` and was ended.
            Problem: what the analyser says of the picture.
        """
        process = self._free.get()
        try:
            return process.analyse(picture)
        finally:
            self._free.put(process)

    def process_ids(self) -> list[int]:
        """Of the processes that run."""
        return [process.pid for process in self._processes if process.pid is not None]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()


class _Process:
    """One process and the line to it; used by one thread at a time."""

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self._opener = opener
        self._settings = settings
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The operating system's name for it."""
        return None if self._process is None else self._process.pid

    def begin(self) -> None:
        """Start; it says once that it has loaded what it needs."""
        self._line, theirs = _SPAWNING.Pipe()
        self._process = _SPAWNING.Process(
            target=_serve, args=(theirs, self._opener, self._settings), daemon=True
        )
        self._process.start()
        # Closed here, so that the end of the process is the end of the line.
        theirs.close()

    async def until_begun(self) -> None:
        """Wait until it has loaded; raises `AnalyserFailed` where it could not."""
        assert self._line is not None
        await anyio.wait_readable(self._line.fileno())
        self._receive(0)

    def analyse(self, picture: Picture) -> Analysis:
        """Let the process look; start one if there is none."""
        if self._process is not None and self._process.is_alive():
            try:
                return self._ask(picture)
            except _AtRest:
                log.debug("analysis_process_rested")
        self.stop()
        self.begin()
        try:
            self._receive(_START_TIMEOUT_S)
        except TimeoutError as error:
            raise AnalyserFailed(_TOO_SLOW) from error
        return self._ask(picture)

    def _ask(self, picture: Picture) -> Analysis:
        assert self._line is not None
        try:
            self._line.send(picture)
        except OSError as error:
            raise self._ended() from error
        answer = self._receive(self._settings.netra_analysis_timeout_s)
        assert isinstance(answer, Analysis)
        return answer

    def _receive(self, timeout_s: float) -> object:
        assert self._line is not None
        try:
            if not self._line.poll(timeout_s):
                self.stop()
                raise TimeoutError
            answer = self._line.recv()
        except (EOFError, OSError) as error:
            # TimeoutError is an OSError too.
            if isinstance(error, TimeoutError):
                raise
            raise self._ended() from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _ended(self) -> AnalyserFailed:
        """Why there is nobody at the other end of the line."""
        assert self._process is not None
        self._process.join(_STOP_TIMEOUT_S)
        rested = self._process.exitcode == 0
        self.stop()
        if rested:
            return _AtRest("the process that analyses photographs had nothing to do")
        log.error("analysis_process_died")
        return AnalyserFailed("the process that analyses photographs has died")

    def stop(self) -> None:
        """End the process whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_STOP_TIMEOUT_S)
        if self._line is not None:
            self._line.close()
        self._process = self._line = None


def _serve(line: Connection, opener: Opener, settings: Settings) -> None:
    """In the process: load, say so, and look while there is work."""
    os.nice(_NICENESS)
    configure_logging("netra", settings)
    # Whoever stops the service lets it finish what it has begun; it ends this process itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        with opener(settings) as analyser:
            line.send(None)
            while line.poll(settings.netra_rest_after_s):
                line.send(_look(analyser, line.recv()))
    except (EOFError, BrokenPipeError):
        # The service has ended.
        return
    except Exception as error:  # whatever loading raises is told, and ends the service
        line.send(AnalyserFailed(f"{type(error).__name__}: {error}"))


def _look(analyser: Analyser, picture: Picture) -> Analysis | Exception:
    try:
        return analyser.analyse(picture)
    except Problem as problem:
        return type(problem)(problem.detail)
    except Exception as error:  # a bug on one photograph must not end the process
        return AnalyserFailed(f"{type(error).__name__}: {error}")
