"""Several processes of one service: who gets a request."""

import contextlib
import json
from pathlib import Path

import pytest
from starlette.types import Receive, Send

from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.replicas import Replicas
from gateway.upstream import Upstream
from tests.gateway.support import Asked, StubService, answer, listen, rig, serve_stub

POLICY = Policy(TABLE)
SOCKETS = POLICY.find("/socket.io/")
ALERTS = POLICY.find("/api/v1/alert/")


async def replicas_of(count: int) -> Replicas:
    """Processes that nobody has connected to."""
    return Replicas(
        [
            Upstream(f"fleet-{place}", "http://127.0.0.1:9", service="fleet")
            for place in range(count)
        ]
    )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        (b"EIO=4&transport=polling&sid=abc-_1.0", 0),
        (b"EIO=4&sid=abc.2&transport=websocket", 2),
        (b"sid=0123.1", 1),
        (b"sid=0123.4", 1),
    ],
)
async def test_a_live_connection_stays_with_the_process_that_its_id_names(
    query: bytes, place: int
) -> None:
    replicas = await replicas_of(3)

    assert replicas.choose(SOCKETS, query) is replicas.all[place]


@pytest.mark.parametrize("query", [b"", b"EIO=4", b"sid=", b"sid=x", b"sid=x.y", b"xsid=a.2"])
async def test_what_belongs_to_no_connection_goes_to_a_process_that_lives(query: bytes) -> None:
    replicas = await replicas_of(3)
    for upstream in replicas.all[:2]:
        upstream.breaker.open(0.0)

    assert replicas.choose(SOCKETS, query) is replicas.all[2]
    assert replicas.choose(ALERTS, b"sid=x.0") is replicas.all[2]


def test_the_gateway_reaches_every_replica(tmp_path: Path) -> None:
    """And asks each of them whether it is ready."""
    with contextlib.ExitStack() as stack:
        services, urls = [], []
        for _ in range(2):
            service, listening = StubService(), listen()
            stack.enter_context(serve_stub(service, listening))
            services.append(service)
            urls.append(f"http://127.0.0.1:{listening.getsockname()[1]}")
        gateway = stack.enter_context(rig(tmp_path, fleet_url=", ".join(urls)))
        for place in (0, 1, 1):
            gateway.get(f"/socket.io/?EIO=4&transport=polling&sid=a.{place}")
        table = json.loads(gateway.get("/readyz").content)["services"]

    assert [len(service.asked) for service in services] == [1, 2]
    assert table["fleet"]["ready"]
    assert table["fleet-1"]["ready"]


def test_any_process_of_a_service_describes_it(tmp_path: Path) -> None:
    """The first may be the one that has just died."""

    async def document(asked: Asked, receive: Receive, send: Send) -> None:
        operation = {"operationId": "alerts", "responses": {}}
        await answer(send, json.dumps({"paths": {"/api/v1/alert/": {"get": operation}}}).encode())

    service, listening, nobody = StubService(), listen(), listen()
    service.extra["/openapi.json"] = document
    urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in (nobody, listening)]
    nobody.close()
    with (
        serve_stub(service, listening),
        rig(tmp_path, fleet_url=",".join(urls)) as gateway,
    ):
        paths = gateway.get("/openapi.json").json()["paths"]

    assert "/api/v1/alert/" in paths
