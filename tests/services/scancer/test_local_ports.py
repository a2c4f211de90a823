"""TorchServe's ports 8081 and 8082: open to programs of this machine, and to nobody else."""

import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from services.scancer.compat import local
from tests.running import free_ports
from tests.services.scancer.support import BRIGHT, Installation, put_in_store, register


@asynccontextmanager
async def with_ports(
    installation: Installation, **settings: object
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient]]:
    """The service, and clients of its management and its metrics port."""
    first = free_ports(2)
    installation.settings |= {
        "scancer_management_port": first,
        "scancer_metrics_port": first + 1,
        **settings,
    }
    urls = [f"http://127.0.0.1:{port}" for port in (first, first + 1)]
    async with (
        installation.serve() as service,
        httpx.AsyncClient(base_url=urls[0], trust_env=False) as management,
        httpx.AsyncClient(base_url=urls[1], trust_env=False) as metrics,
    ):
        yield service, management, metrics


async def test_q18_q20_models_are_managed_without_a_credential(installation: Installation) -> None:
    put_in_store(installation.store)
    async with with_ports(installation) as (service, management, metrics):
        registered = await management.post("/models?url=brightness-1.0.zip&initial_workers=1")
        described = await management.get("/models/brightness")
        described_api = await management.options("/")
        predicted = await service.put("/predictions/brightness", content=BRIGHT)
        page = await metrics.get("/metrics")
        only = await metrics.get("/metrics?name[]=ts_inference_requests_total")
        removed = await management.delete("/models/brightness")
        unknown = await management.get("/predictions/brightness")

    assert registered.status_code == 202
    assert described.json()[0]["modelName"] == "brightness"
    assert "x-request-id" in described.headers
    assert "/models/{model_name}" in described_api.json()["paths"]
    assert predicted.text == "1"
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "ts_inference_requests_total{" in page.text
    assert "vedette_inference_compute_seconds" in page.text
    assert {line.split("{")[0] for line in only.text.splitlines() if line[0] != "#"} == {
        "ts_inference_requests_total"
    }
    assert removed.json() == {"status": 'Model "brightness" unregistered'}
    assert unknown.json()["type"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8081"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_s49_no_web_page_speaks_for_the_person_before_the_screen(
    installation: Installation, headers: dict[str, str]
) -> None:
    """A page may send a POST anywhere, and a name of its own may lead to 127.0.0.1."""
    put_in_store(installation.store)
    async with with_ports(installation) as (service, management, metrics):
        answer = await management.post("/models?url=brightness-1.0.zip", headers=headers)
        page = await metrics.get("/metrics", headers=headers)
        listed = (await service.get("/models")).json()

    assert (answer.status_code, page.status_code) == (403, 403)
    assert listed == {"models": []}


async def test_s53_the_ports_are_closed_unless_they_are_switched_on(
    installation: Installation,
) -> None:
    port = free_ports(1)
    async with installation.serve():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()


def listeners(port: int | None) -> set[str]:
    """Where somebody listens on a port, as the kernel writes it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {line[1] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"}


async def test_s53_the_ports_listen_on_loopback_alone(installation: Installation) -> None:
    async with with_ports(installation, bind="0.0.0.0") as (_, management, _metrics):  # noqa: S104
        port = management.base_url.port
        found = listeners(port)

    assert found == {f"0100007F:{port:04X}"}


async def test_a_port_that_is_taken_does_not_stop_the_service(installation: Installation) -> None:
    """Another replica on the same machine has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        installation.settings = {"scancer_management_port": taken.getsockname()[1]}
        async with installation.serve() as client:
            assert (await client.get("/ping")).status_code == 200


def auth_that_knows(credential: str) -> FastAPI:
    """An auth that accepts one name and password."""
    app = FastAPI()

    @app.post("/internal/introspect")
    async def introspect(request: Request) -> JSONResponse:
        asked = await request.json()
        assert "vedette-assertion" in request.headers
        if asked["credential"] != credential:
            return JSONResponse({}, 401)
        found = {"subject": "u", "kind": "user", "roles": ["admin"], "username": "ada"}
        return JSONResponse(found | {"scopes": ["scancer:admin", "scancer:read"]})

    return app


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """An application on a port of its own."""
    port = free_ports(1)
    async with local.listening(app, port, {}, local.OpenDoor()):
        yield f"http://127.0.0.1:{port}"


async def test_with_credentials_the_ports_ask_auth(installation: Installation) -> None:
    put_in_store(installation.store)
    good = base64.b64encode(b"ada:good").decode()
    async with (
        listening(auth_that_knows(good)) as auth_url,
        with_ports(installation, scancer_loopback_credentials=True, auth_url=auth_url) as (
            _,
            management,
            _metrics,
        ),
    ):
        nobody = await management.get("/models")
        wrong = await management.get("/models", auth=("ada", "bad"))
        odd = await management.get("/models", headers={"Authorization": "Basic ***"})
        right = await management.post("/models?url=brightness-1.0.zip", auth=("ada", "good"))

    assert (nobody.status_code, wrong.status_code, odd.status_code) == (401, 401, 401)
    assert nobody.headers["www-authenticate"] == 'Basic realm="ML Ops Area"'
    assert right.status_code == 200


async def test_without_auth_nobody_is_let_in(installation: Installation) -> None:
    put_in_store(installation.store)
    closed = f"http://127.0.0.1:{free_ports(1)}"
    async with with_ports(installation, scancer_loopback_credentials=True, auth_url=closed) as (
        _,
        management,
        _metrics,
    ):
        answer = await management.get("/models", auth=("ada", "good"))

    assert answer.status_code == 503


async def test_the_ports_are_free_again_after_the_end(installation: Installation) -> None:
    for _ in range(2):
        async with with_ports(installation) as (service, management, _metrics):
            port = management.base_url.port
            assert (await register(service, "absent.zip")).status_code == 404
        assert isinstance(port, int)
        socket.create_server(("127.0.0.1", port)).close()
