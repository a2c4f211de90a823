"""Analysers that processes of their own load; what they do depends on the picture's format."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from services.netra.domain import Analysis
from services.netra.settings import Settings
from shared.imaging import ImageTooLarge, Picture
from tests.services.netra.support import DISEASED

log = structlog.get_logger(__name__)


class OddAnalyser:
    """Dies, hangs, raises or answers, as the picture says."""

    def analyse(self, picture: Picture) -> Analysis:
        """See `Analyser`."""
        match picture.format:
            case "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            case "endless":
                time.sleep(60)
            case "large":
                raise ImageTooLarge("Too many pixels.", limit=1)
            case "odd":
                raise ZeroDivisionError("by zero")
        return DISEASED


@contextmanager
def open_telling(settings: Settings) -> Iterator[OddAnalyser]:
    """An analyser that logs two lines while it loads."""
    log.info("network_loaded", model="a")
    log.warning("device_lost")
    yield OddAnalyser()


@contextmanager
def open_odd(settings: Settings) -> Iterator[OddAnalyser]:
    """An analyser that loads."""
    yield OddAnalyser()


@contextmanager
def open_broken(settings: Settings) -> Iterator[OddAnalyser]:
    """An analyser that does not."""
    raise ValueError("the verdict was fitted to other networks")
    yield OddAnalyser()


@contextmanager
def open_slow(settings: Settings) -> Iterator[OddAnalyser]:
    """An analyser that takes a minute to load."""
    time.sleep(60)
    yield OddAnalyser()
