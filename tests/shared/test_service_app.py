"""What every service's application has before it has a route of its own."""

import io
import json
from collections.abc import AsyncGenerator

import httpx
import pytest
from fastapi import Request, Response

from shared.assertions import (
    GATEWAY,
    HEADER,
    AssertionSigner,
    AssertionVerifier,
    Caller,
)
from shared.direct import DirectRoute
from shared.service_app import create_service_app

KEY = b"k" * 32


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    """A service that has nothing of its own."""
    app = create_service_app(
        "chexray", "Radiographs.", None, AssertionVerifier("chexray", {GATEWAY: KEY})
    )

    async def is_fine() -> str:
        return "fine"

    app.state.checks["itself"] = is_fine
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://chexray") as client:
        yield client


async def test_its_health_is_open_to_whoever_supervises_it(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json()["checks"]["itself"]["detail"] == "fine"


async def test_everything_else_wants_the_gateways_assertion(client: httpx.AsyncClient) -> None:
    stranger = AssertionSigner("netra", KEY).sign(Caller("netra", "service"), "chexray")
    gateway = AssertionSigner(GATEWAY, KEY).sign(Caller("gateway", "service"), "chexray")

    assert (await client.get("/metrics")).status_code == 401
    assert (await client.get("/metrics", headers={HEADER: stranger})).status_code == 401
    answer = await client.get("/metrics", headers={HEADER: gateway})
    assert answer.status_code == 200
    assert "vedette_" in answer.text


async def test_what_it_does_not_know_is_a_problem(client: httpx.AsyncClient) -> None:
    gateway = AssertionSigner(GATEWAY, KEY).sign(Caller("gateway", "service"), "chexray")
    answer = await client.get("/nothing", headers={HEADER: gateway})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_bug_is_answered_as_a_problem_wherever_it_is(lines: io.StringIO) -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("a secret")

    app = create_service_app(
        "chexray",
        "Radiographs.",
        None,
        AssertionVerifier("chexray", {GATEWAY: KEY}),
        direct=(DirectRoute("/direct", ("GET",), fail),),
    )
    app.add_api_route("/routed", fail, response_model=None)
    headers = {HEADER: AssertionSigner(GATEWAY, KEY).sign(Caller("gateway", "service"), "chexray")}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://chexray", headers=headers
    ) as client:
        direct = await client.get("/direct", headers={"X-Request-ID": "same"})
        routed = await client.get("/routed", headers={"X-Request-ID": "same"})

    assert direct.status_code == routed.status_code == 500
    assert direct.content == routed.content
    assert direct.headers == routed.headers
    assert direct.headers["content-type"] == "application/problem+json"
    assert direct.json()["request_id"] == direct.headers["X-Request-ID"] == "same"
    assert "secret" not in direct.text
    # Each is told once, with its trace.
    events = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert events.count("request_failed") == 2
    assert lines.getvalue().count("RuntimeError: a secret") == 2


async def test_what_the_door_refuses_has_a_request_id_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 401
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
