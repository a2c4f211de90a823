"""The short way to a WebSocket: it is found below the server that the product runs on."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as some
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from services.fleet.realtime.wire import Wire, text_frame, wire_of
from tests.gateway.support import listen, served


@given(some.text(max_size=70_000))
def test_a_frame_is_what_websockets_writes(text: str) -> None:
    frame = Frame(Opcode.TEXT, text.encode())

    assert text_frame(text) == frame.serialize(mask=False)


@contextlib.contextmanager
def served_with(work: Any) -> Iterator[str]:
    """A WebSocket server that calls `work` with the wire of each connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        work(wire_of(send))
        await receive()

    listening = listen()
    config = uvicorn.Config(
        app, http="httptools", ws="websockets-sansio", loop="uvloop", lifespan="off",
        log_config=None, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with served(uvicorn.Server(config), listening):
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/"


async def test_a_message_is_written_past_the_application() -> None:
    def work(wire: Wire | None) -> None:
        assert wire is not None
        assert wire.write(text_frame("straight on"))

    with served_with(work) as url:
        async with connect(url, compression=None, proxy=None) as connection:
            assert await connection.recv() == "straight on"


async def test_a_client_that_wants_its_messages_packed_is_written_to_the_ordinary_way() -> None:
    written: list[bool] = []

    def work(wire: Wire | None) -> None:
        assert wire is not None
        written.append(wire.write(text_frame("x")))
        wire.abort()

    with served_with(work) as url:
        async with connect(url, compression="deflate", proxy=None) as connection:
            with pytest.raises(ConnectionClosed):
                await connection.recv()

    assert written == [False]
