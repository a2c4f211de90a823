"""Paths that are answered before the framework looks for their route."""

from collections.abc import AsyncGenerator

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client import REGISTRY
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.responses import PlainTextResponse, Response

from shared.direct import DirectRoute, DirectRoutes
from shared.multipart import read_whole
from shared.problems import Forbidden, install_problem_handlers
from shared.telemetry import TelemetryMiddleware


async def answer(request: Request) -> Response:
    """What was asked, and for what."""
    failures: dict[str, Exception] = {
        "forbidden": Forbidden("Not this one."),
        "busy": PoolTimeout(),
        "bug": RuntimeError("a secret"),
    }
    failure = failures.get(request.path_params["name"])
    if failure is not None:
        raise failure
    body = (await read_whole(request, 10)).decode()
    return PlainTextResponse(f"{request.path_params} {request.query_params.get('q')} {body}")


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    """`/direct/…` is answered at once, `/routed/…` by the framework."""
    app = FastAPI()
    install_problem_handlers(app)
    app.add_api_route("/routed/{name}", answer, methods=["GET", "POST"], response_model=None)
    app.add_api_route("/direct/{name}", answer, methods=["PUT"], response_model=None)
    direct = DirectRoute("/direct/{name}", ("GET", "POST"), answer)
    app.add_middleware(DirectRoutes, routes=(direct,))
    app.add_middleware(TelemetryMiddleware, service="direct")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://direct") as client:
        yield client


@pytest.mark.parametrize("name", ["plain", "ü b", "a%2Fb", "a/b", "", "forbidden", "busy", "bug"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("body", ["", "short", "much too long"])
async def test_both_ways_answer_alike(
    client: httpx.AsyncClient, name: str, method: str, body: str
) -> None:
    headers = {"X-Request-ID": "the-same"}
    path = f"{name}?q=1&q=2"
    direct = await client.request(method, f"/direct/{path}", content=body, headers=headers)
    routed = await client.request(method, f"/routed/{path}", content=body, headers=headers)

    # The framework says which verbs a path takes that it knows.
    allow = {"allow"} if direct.status_code == 405 else set()
    assert direct.status_code == routed.status_code
    assert direct.content == routed.content
    assert {name: text for name, text in direct.headers.items() if name not in allow} == {
        name: text for name, text in routed.headers.items() if name not in allow
    }


async def test_other_verbs_are_the_frameworks(client: httpx.AsyncClient) -> None:
    assert (await client.put("/direct/x")).text == "{'name': 'x'} None "


async def test_metrics_call_it_by_its_template(client: httpx.AsyncClient) -> None:
    await client.get("/direct/x")
    labels = {"service": "direct", "method": "GET", "route": "/direct/{name}", "status": "200"}

    assert (REGISTRY.get_sample_value("vedette_requests_total", labels) or 0) >= 1
