"""Logs and metrics: useful, and empty of secrets and forgeries."""

import io
import json
import logging
from typing import Literal

import httpx
import pytest
import structlog
from fastapi import FastAPI, Response

from shared.telemetry import TelemetryMiddleware, metrics_response
from tests.shared.conftest import logged


async def ask(path: str) -> None:
    app = FastAPI()

    @app.get("/studies/{study_id}")
    async def study(study_id: str) -> str:
        return study_id

    app.add_middleware(TelemetryMiddleware, service="test")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        await client.get(path)
    for handler in logging.getLogger().handlers:
        handler.flush()


async def test_a_request_is_one_line_with_its_id(lines: io.StringIO) -> None:
    await ask("/studies/7?token=hunter2")
    (line,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert line["event"] == "request_answered"
    assert line["route"] == "/studies/{study_id}"
    assert len(line["request_id"]) == 32
    assert "hunter2" not in lines.getvalue()


FORGERIES = ["a\r\nINFO admin logged in", "\x1b[2J", "a\u2028b", "a\x9bb", "a\nb"]


@pytest.mark.parametrize("forged", FORGERIES)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_s79_a_client_cannot_forge_a_log_line(
    log_format: Literal["json", "console"], forged: str
) -> None:
    with logged(log_format) as stream:
        structlog.get_logger("x").info("signed_in", who=forged)
        logging.getLogger("library").warning("odd name %s", forged)
    text = stream.getvalue()
    for character in "\r\x1b\u2028\x9b":
        assert character not in text
    # Each call begins one line; what a client's line break begins is indented.
    assert len([line for line in text.split("\n") if line and not line.startswith("    ")]) == 2


def test_an_exception_is_logged_with_its_trace_and_no_variables(lines: io.StringIO) -> None:
    """Variables of a frame hold passwords and pictures."""
    password = "hunter" + "2"
    try:
        raise RuntimeError("broken" if password else "")
    except RuntimeError:
        structlog.get_logger("x").exception("request_failed")
    (line,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert "RuntimeError: broken" in line["exception"]
    assert "hunter2" not in line["exception"]


async def test_lines_about_requests_keep_their_place_among_the_others(lines: io.StringIO) -> None:
    """Many are written at once, but nothing that is logged later may come before them."""
    app = FastAPI()

    @app.get("/told")
    async def told() -> None:
        structlog.get_logger("x").info("told")

    app.add_middleware(TelemetryMiddleware, service="test")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        await client.get("/told", headers={"X-Request-ID": "first"})
        await client.get("/told", headers={"X-Request-ID": "second"})
    structlog.get_logger("x").info("last")

    found = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert [(line["event"], line.get("request_id")) for line in found] == [
        ("told", "first"),
        ("request_answered", "first"),
        ("told", "second"),
        ("request_answered", "second"),
        ("last", None),
    ]


@pytest.mark.parametrize("sent", ["a b", "x" * 65, 'x", "level": "error', "", "ü"])
async def test_s79_a_request_id_that_could_break_a_line_is_replaced(
    lines: io.StringIO, sent: str
) -> None:
    app = FastAPI()
    app.add_middleware(TelemetryMiddleware, service="test")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/", headers={b"X-Request-ID": sent.encode()})
    for handler in logging.getLogger().handlers:
        handler.flush()

    (line,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert line["request_id"] == answer.headers["X-Request-ID"] != sent
    assert len(line["request_id"]) == 32


async def test_an_answer_has_one_request_id(lines: io.StringIO) -> None:
    """Whatever an application says, the id in the log is the one that the client is told."""
    app = FastAPI()

    @app.get("/")
    async def root() -> Response:
        return Response(headers={"X-Request-ID": "its-own"})

    app.add_middleware(TelemetryMiddleware, service="test")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/", headers={"X-Request-ID": "ours"})

    assert answer.headers.get_list("X-Request-ID") == ["ours"]


async def test_s80_made_up_paths_do_not_grow_the_metrics() -> None:
    await ask("/nowhere/at/all")
    before = len(metrics_response().body)
    for number in range(50):
        await ask(f"/nowhere/{number}")
    assert len(metrics_response().body) - before < 200
    assert b'route="/nowhere' not in metrics_response().body
