"""Every failure of a service is a problem document."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from shared.problems import NotFound, Problem, TooManyRequests, install_problem_handlers
from shared.telemetry import TelemetryMiddleware


class Order(BaseModel):
    """A body with a field that must not be echoed."""

    password: int


class Busy(Problem):
    """For the test of extension members."""

    status, slug, title = 409, "busy", "Busy"


def application() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/busy")
    async def busy() -> None:
        raise Busy("Somebody is at it.", headers={"X-Who": "anna"}, since="10:00")

    @app.get("/absent")
    async def absent() -> None:
        raise NotFound("No study has this id.")

    @app.get("/often")
    async def often() -> None:
        raise TooManyRequests("Ten a minute.", retry_after_s=0.2)

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("secret detail")

    @app.post("/order")
    async def order(order: Order) -> None:
        return None

    app.add_middleware(TelemetryMiddleware, service="test")
    return app


@pytest.fixture
async def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=application())
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_an_expected_failure_has_all_members(client: httpx.AsyncClient) -> None:
    answer = await client.get("/busy", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-who"] == "anna"
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.json() == {
        "type": "/problems/busy",
        "title": "Busy",
        "status": 409,
        "detail": "Somebody is at it.",
        "request_id": "abc-1",
        "since": "10:00",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/absent", 404, "not-found"),
        ("GET", "/nowhere", 404, "not-found"),
        ("DELETE", "/busy", 405, "method-not-allowed"),
        ("GET", "/often", 429, "too-many-requests"),
    ],
)
async def test_framework_refusals_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, slug: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{slug}"


async def test_a_limit_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    assert (await client.get("/often")).headers["retry-after"] == "1"


async def test_s47_a_bug_shows_nothing_of_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/bug")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_wrong_body_is_named_but_not_echoed(client: httpx.AsyncClient) -> None:
    """What was sent may be a password."""
    answer = await client.post("/order", json={"password": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "body/password"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("bad", ["x" * 65, "a b", "a\u00e9", "", "a_b"])
async def test_a_malformed_request_id_is_replaced(client: httpx.AsyncClient, bad: str) -> None:
    answer = await client.get("/absent", headers={b"X-Request-ID": bad.encode()})
    assert len(answer.headers["x-request-id"]) == 32
