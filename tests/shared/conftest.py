"""What tests of the shared parts look at."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import structlog

from shared.settings import Settings
from shared.telemetry import configure_logging


@contextmanager
def logged(log_format: Literal["json", "console"]) -> Iterator[io.StringIO]:
    """Everything that is logged inside the block."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configuration = structlog.get_config()
    configure_logging("test", Settings(log_format=log_format))
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configuration)
        structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged while the test runs, as JSON lines."""
    with logged("json") as stream:
        yield stream
