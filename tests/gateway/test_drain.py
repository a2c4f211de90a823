"""Stopping: not ready first, then no new connections, and what has begun ends well."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

from starlette.types import Receive, Send

from tests.gateway.support import Asked, answer, receive_all, rig, status_of


def test_a_stopping_gateway_says_so_before_it_stops_answering(tmp_path: Path) -> None:
    with rig(tmp_path, gateway_drain_s=1) as gateway:
        assert gateway.get("/readyz").status_code == 200
        gateway.server.should_exit = True
        until = time.monotonic() + 5
        while gateway.get("/readyz").status_code == 200:
            assert time.monotonic() < until

        ready, answered = gateway.get("/readyz"), gateway.get("/open/x")

    assert ready.json()["services"]["gateway"]["stopping"] is True
    assert answered.status_code == 200


def test_a_request_under_way_is_answered_whole_before_the_end(tmp_path: Path) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    async def slow(asked: Asked, receive: Receive, send: Send) -> None:
        has_begun.set()
        await asyncio.to_thread(may_end.wait, 5)
        await answer(send, b"done")

    with rig(tmp_path, stop_grace_s=5) as gateway:
        gateway.service.extra["/open/slow"] = slow
        with gateway.connect() as connection:
            connection.sendall(b"GET /open/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert has_begun.wait(5)
            gateway.server.should_exit = True
            until = time.monotonic() + 5
            while _accepts(gateway.port):
                assert time.monotonic() < until
            may_end.set()
            found = receive_all(connection)

    assert status_of(found) == 200
    assert b"connection: close" in found.lower() or found.endswith(b"done")


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
