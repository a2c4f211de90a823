"""Forwarding over real sockets: bytes in parts, whole answers or visibly broken ones."""

import asyncio
import threading
import time
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tests.gateway.support import (
    Asked,
    Rig,
    access_token,
    answer,
    listen,
    raw_service,
    read,
    receive_all,
    rig,
    run_lifespan,
    serve_stub,
    status_of,
)


def test_a_request_and_its_answer_pass_unchanged(gateway: Rig) -> None:
    async def teapot(asked: Asked, receive: Receive, send: Send) -> None:
        asked.body = await read(receive, asked)
        await answer(
            send, b"short and stout", status=418, headers=[(b"x-kept", b"1"), (b"x-kept", b"2")]
        )

    gateway.service.extra["/open/teapot"] = teapot

    found = gateway.post("/open/teapot?a=1&a=2", content=b"water", headers={"X-Colour": "white"})

    assert (found.status_code, found.content) == (418, b"short and stout")
    assert found.headers.get_list("x-kept") == ["1", "2"]
    asked = gateway.last
    assert (asked.method, asked.path, asked.query, asked.body) == (
        "POST",
        "/open/teapot",
        b"a=1&a=2",
        b"water",
    )
    assert asked.all("x-colour") == ["white"]


def test_a_large_body_arrives_whole_whatever_its_framing(gateway: Rig) -> None:
    body = bytes(range(256)) * 3000

    gateway.post("/open/length", content=body)
    with_length = gateway.last
    gateway.post(
        "/open/chunks", content=(body[at : at + 9_973] for at in range(0, len(body), 9_973))
    )
    in_chunks = gateway.last

    assert with_length.body == in_chunks.body == body
    assert with_length.all("content-length") == [str(len(body))]
    assert in_chunks.all("transfer-encoding") == ["chunked"]
    assert with_length.all("transfer-encoding") == in_chunks.all("content-length") == []


def test_a_streamed_answer_is_passed_on_part_by_part(gateway: Rig) -> None:
    """A client that reads events must not wait for the end."""

    async def tick(asked: Asked, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        asked.ended = "disconnected"

    gateway.service.extra["/open/tick"] = tick

    with httpx.stream("GET", f"{gateway.url}/open/tick", trust_env=False, timeout=5) as found:
        first = next(found.iter_raw())

    assert first == b"first"
    until = time.monotonic() + 5
    while gateway.last.ended != "disconnected":
        assert time.monotonic() < until, "a client that leaves ends the service's work"
        time.sleep(0.01)


def test_a_head_request_has_headers_and_no_body(gateway: Rig) -> None:
    found = gateway.exchange(b"HEAD /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert status_of(found) == 200
    assert b"content-length: 22" in found
    assert found.endswith(b"\r\n\r\n")


def test_two_requests_on_one_connection_get_their_own_answers(gateway: Rig) -> None:
    async def name(asked: Asked, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05 if asked.path.endswith("slow") else 0)
        await answer(send, asked.path.encode())

    gateway.service.extra |= {"/open/slow": name, "/open/quick": name}

    found = gateway.exchange(
        b"GET /open/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /open/quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )

    assert found.count(b"HTTP/1.1 200") == 2
    assert found.index(b"/open/slow") < found.index(b"/open/quick")


def test_a_body_is_asked_for_before_it_is_sent_when_the_client_waits(gateway: Rig) -> None:
    with gateway.connect() as connection:
        connection.sendall(
            b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        interim = connection.recv(100)
        connection.sendall(b"hello")
        found = receive_all(connection)

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status_of(found) == 200
    assert gateway.last.body == b"hello"
    assert gateway.last.all("expect") == []


def test_a_service_that_breaks_off_leaves_an_answer_that_is_visibly_broken(
    tmp_path: Path,
) -> None:
    """A truncated radiograph must never look like a whole one."""
    by_length = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    by_chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    with (
        raw_service(by_length, by_chunks) as service,
        rig(tmp_path, chexray_url=f"http://127.0.0.1:{service.port}") as gateway,
    ):
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                gateway.post("/open/x", content=b"x")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_a_502_problem(tmp_path: Path, reply: bytes) -> None:
    with (
        raw_service(reply) as service,
        rig(tmp_path, chexray_url=f"http://127.0.0.1:{service.port}") as gateway,
    ):
        found = gateway.post("/open/x", content=b"x")

    assert found.status_code == 502
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["type"] == "/problems/bad-gateway"
    assert found.json()["request_id"] == found.headers["x-request-id"]
    assert "127.0.0.1" not in found.json()["detail"]


def test_two_answers_to_one_question_reach_nobody_else(tmp_path: Path) -> None:
    """Response splitting: the second answer would be given to the next caller."""
    reply = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
    )
    with (
        raw_service(reply) as service,
        rig(tmp_path, chexray_url=f"http://127.0.0.1:{service.port}") as gateway,
    ):
        bodies = [gateway.post("/open/x", content=b"x").content for _ in range(3)]

    assert bodies == [b"first"] * 3
    assert len(service.received) == 3


def test_an_interim_answer_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    reply = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal"
    )
    with (
        raw_service(reply) as service,
        rig(tmp_path, chexray_url=f"http://127.0.0.1:{service.port}") as gateway,
    ):
        found = gateway.get("/open/x")

    assert (found.status_code, found.content) == (200, b"real")
    assert "link" not in found.headers


def test_a_body_that_was_sent_is_never_sent_again(tmp_path: Path) -> None:
    with (
        raw_service(b"") as service,
        rig(tmp_path, chexray_url=f"http://127.0.0.1:{service.port}") as gateway,
    ):
        assert gateway.post("/open/x", content=b"pay").status_code == 502

    assert len(service.received) == 1


def test_a_service_that_is_not_there_is_a_502_and_then_a_503(tmp_path: Path) -> None:
    with rig(tmp_path, chexray_url="http://127.0.0.1:9") as gateway:
        statuses = [gateway.get("/open/x").status_code for _ in range(8)]
        last = gateway.get("/open/x")

    assert statuses[:5] == [502] * 5
    assert statuses[5:] == [503] * 3
    assert last.json()["type"] == "/problems/service-unavailable"
    assert int(last.headers["retry-after"]) >= 1


def test_a_service_that_is_late_is_a_504(tmp_path: Path) -> None:
    async def sleep(asked: Asked, receive: Receive, send: Send) -> None:
        await read(receive, asked)
        await asyncio.sleep(3)

    with rig(tmp_path) as gateway:
        gateway.service.extra["/open/late"] = sleep
        found = gateway.get("/open/late")

    assert found.status_code == 504
    assert found.json()["type"] == "/problems/gateway-timeout"


def test_a_service_that_hangs_is_left_alone_until_it_answers_a_probe(tmp_path: Path) -> None:
    """RELIABILITY: the breaker opens within 5 s though every deadline is longer."""
    is_awake = threading.Event()
    is_awake.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(receive, send)
            return
        await asyncio.to_thread(is_awake.wait, 10)
        await answer(send, b"alive")

    listening = listen()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with (
        serve_stub(app, listening),
        rig(
            tmp_path, chexray_url=url, gateway_hang_after_s=0.2, gateway_probe_deadline_s=0.2
        ) as gateway,
        gateway.connect() as waiting,
    ):
        assert gateway.get("/media/images/x").status_code == 200
        is_awake.clear()
        began_at = time.monotonic()
        waiting.sendall(b"GET /media/images/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while 'vedette_gateway_breaker_open{service="gateway",upstream="chexray"} 1' not in (
            gateway.get("/metrics").text
        ):
            assert time.monotonic() < began_at + 5
        refused = gateway.get("/media/images/x")
        is_awake.set()
        while gateway.get("/media/images/x").status_code != 200:
            assert time.monotonic() < began_at + 10

    assert refused.status_code == 503


def test_more_requests_than_a_service_may_have_are_a_503(tmp_path: Path) -> None:
    may_answer = threading.Event()

    async def wait(asked: Asked, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(may_answer.wait, 10)
        await answer(send, b"done")

    # The service of this rig has sockets, so the limit is that of services that are polled.
    with rig(tmp_path, gateway_max_polls=1) as gateway:
        gateway.service.extra["/open/wait"] = wait
        with gateway.connect() as first:
            first.sendall(b"GET /open/wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not gateway.service.asked:
                time.sleep(0.005)
            second = gateway.get("/open/wait")
            may_answer.set()
            assert status_of(receive_all(first)) == 200

    assert second.status_code == 503
    assert second.headers["retry-after"] == "1"


def test_answers_carry_what_the_gateway_adds(gateway: Rig) -> None:
    found = gateway.get("/api/v2/chexray/studies", token=access_token())

    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-store"
    assert found.headers["ratelimit-policy"].startswith('"default";q=')
    assert found.headers["ratelimit"].startswith('"default";r=')
    assert len(found.headers["x-request-id"]) == 32


def test_a_valid_request_id_and_trace_are_kept_and_bad_ones_replaced(gateway: Rig) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    good = {"X-Request-ID": "my-id-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    bad = {"X-Request-ID": "no spaces", "traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}

    kept = gateway.get("/open/x", headers=good)
    asked_kept = gateway.last
    replaced = gateway.get("/open/x", headers=bad)
    asked_replaced = gateway.last

    assert kept.headers["x-request-id"] == "my-id-1"
    assert asked_kept.all("x-request-id") == ["my-id-1"]
    (parent,) = asked_kept.all("traceparent")
    assert parent.startswith(f"00-{trace}-")
    assert "00f067aa0ba902b7" not in parent
    assert asked_replaced.all("x-request-id") == [replaced.headers["x-request-id"]]
    assert replaced.headers["x-request-id"] != "no spaces"
    assert "0" * 32 not in asked_replaced.all("traceparent")[0]


def test_the_answer_to_a_big_body_may_come_before_its_end(gateway: Rig) -> None:
    """A service may refuse an upload by its first bytes."""

    async def refuse(asked: Asked, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send, b"too much", status=422)

    gateway.service.extra["/open/refuse"] = refuse

    found = gateway.post("/open/refuse", content=b"x" * 1_000_000)

    assert (found.status_code, found.content) == (422, b"too much")
