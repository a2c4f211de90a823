"""Lines about requests: written many at a time, in order, none lost, whole whatever they hold."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shared.accesslog import AccessLog
from shared.loglines import LogLines
from shared.telemetry import metrics_response


class Told(io.StringIO):
    """Tells when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        """Keep the text."""
        self.writes += 1
        self.written.set()
        return super().write(text)


@pytest.fixture
def stream() -> Iterator[Told]:
    """What the root logger's handler writes to."""
    told = Told()
    handler, root = LogLines(told), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield told
    root.removeHandler(handler)
    root.setLevel(level)


def record(log: AccessLog, **changes: Any) -> None:
    """Remember a request."""
    request = {
        "method": "GET", "route": "/studies/{id}", "status": 200, "seconds": 0.01234,
        "now": 1_764_201_600.25, "request_id": "r-1", "caller": "u-1",
    }  # fmt: skip
    log.record(**{**request, **changes})


async def test_a_line_says_what_was_asked_and_how_it_ended(stream: Told) -> None:
    log = AccessLog("test")
    record(log)
    log.flush()

    assert json.loads(stream.getvalue()) == {
        "service": "test",
        "event": "request_answered",
        "level": "info",
        "method": "GET",
        "route": "/studies/{id}",
        "status": 200,
        "seconds": 0.0123,
        "request_id": "r-1",
        "caller": "u-1",
        "timestamp": "2025-11-27T00:00:00.250000Z",
    }


async def test_lines_come_by_themselves_and_together(stream: Told) -> None:
    log = AccessLog("test")
    for number in range(20):
        record(log, request_id=str(number))
    await asyncio.wait_for(stream.written.wait(), 10)

    found = [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()]
    assert found == [str(number) for number in range(20)]
    assert stream.writes == 1


async def test_many_lines_do_not_wait_for_their_time(stream: Told) -> None:
    """Nor may they pile up in memory."""
    log = AccessLog("test")
    for _ in range(256):
        record(log)

    assert stream.getvalue().count("\n") == 256


def test_lines_of_a_loop_that_has_ended_are_not_lost(stream: Told) -> None:
    async def ask(request_id: str) -> None:
        record(AccessLog("test"), request_id=request_id)

    async def ask_and_wait() -> None:
        record(AccessLog("test"), request_id="second")
        await asyncio.wait_for(stream.written.wait(), 10)

    asyncio.run(ask("first"))
    asyncio.run(ask_and_wait())

    found = [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()]
    assert found == ["first", "second"]


async def test_s79_a_caller_cannot_break_a_line(stream: Told) -> None:
    log = AccessLog("test")
    record(log, caller='x", "level": "error\r\n\u2028')
    log.flush()

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["level"] == "info"


async def test_supervisors_and_scrapers_are_counted_without_a_line(stream: Told) -> None:
    log = AccessLog("quiet")
    for route in ("/livez", "/readyz", "/metrics"):
        record(log, route=route)
    log.flush()

    assert stream.getvalue() == ""
    assert bytes(metrics_response().body).count(b'vedette_requests_total{method="GET"') >= 3


async def test_s80_unknown_methods_and_routes_are_counted_together(stream: Told) -> None:
    log = AccessLog("odd")
    for number in range(50):
        record(log, method=f"M{number}", route="")
    log.flush()

    text = bytes(metrics_response().body).decode()
    counted = [line for line in text.splitlines() if 'service="odd"' in line and "_total" in line]
    assert counted == [
        'vedette_requests_total{method="other",route="unmatched",service="odd",status="200"} 50.0'
    ]
    assert {json.loads(line)["method"] for line in stream.getvalue().splitlines()} == {"other"}


async def test_nothing_is_written_where_only_warnings_are(stream: Told) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    log = AccessLog("test")
    record(log)
    log.flush()

    assert stream.getvalue() == ""
