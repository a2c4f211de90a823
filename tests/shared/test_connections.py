"""Requests from a connection's bytes, and answers written with as few calls as they need."""

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from shared.connections import LeanProtocol, take_at_hand


class Wire(asyncio.Transport):
    """A client's end: keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self.is_heard = True
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_closed

    def close(self) -> None:
        """End it."""
        self.is_closed = True

    def pause_reading(self) -> None:
        """The client has to wait."""
        self.is_heard = False

    def resume_reading(self) -> None:
        """The client may go on."""
        self.is_heard = True


def connect(app: ASGIApp, **options: Any) -> tuple[LeanProtocol, Wire]:
    """A connection to `app`."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", **options)
    config.load()
    protocol = LeanProtocol(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


def answering(*messages: Message) -> ASGIApp:
    """Reads the whole body, then sends `messages`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        for message in messages:
            await send(message)

    return app


async def turns(count: int = 10) -> None:
    """Let what can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(part: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": more}


GET = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_an_answer_is_one_write() -> None:
    protocol, wire = connect(answering(start((b"Content-Length", b"4")), body(b"done")))
    protocol.data_received(GET)
    await turns()

    assert wire.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"]
    assert not wire.is_closed


async def test_parts_without_a_length_are_chunks_each_written_when_it_comes() -> None:
    protocol, wire = connect(answering(start(), body(b"one", more=True), body(b"two")))
    protocol.data_received(GET)
    await turns()

    assert wire.written == [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"3\r\ntwo\r\n0\r\n\r\n",
    ]


async def test_an_empty_part_sends_the_head_at_once() -> None:
    """An event stream that has no event yet."""
    protocol, wire = connect(answering(start(), body(b"", more=True)))
    protocol.data_received(GET)
    await turns()

    assert wire.written[0].endswith(b"transfer-encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_has_none(status: int) -> None:
    protocol, wire = connect(answering(start(status=status), body(b"")))
    protocol.data_received(GET)
    await turns()

    assert wire.written[0].endswith(b"\r\n\r\n")
    assert b"chunked" not in wire.written[0]
    assert len(wire.written) == 1


async def test_head_gets_the_length_and_no_body() -> None:
    protocol, wire = connect(answering(start((b"content-length", b"4")), body(b"done")))
    protocol.data_received(GET.replace(b"GET", b"HEAD"))
    await turns()

    assert wire.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"]


@pytest.mark.parametrize("character", [b"\r\n", b"\n", b"\r", b"\0", b"\x1b", b"\x7f"])
@pytest.mark.parametrize("place", ["name", "value"])
async def test_a_header_cannot_become_two(character: bytes, place: str) -> None:
    text = b"a" + character + b"set-cookie: b=c"
    header = (text, b"v") if place == "name" else (b"n", text)
    protocol, wire = connect(answering(start(header), body(b"done")))
    protocol.data_received(GET)
    await turns()

    assert b"set-cookie" not in b"".join(wire.written)
    # The application's failure is uvicorn's to tell; nothing of the answer was written.
    assert b"200 OK" not in b"".join(wire.written)


@pytest.mark.parametrize(("said", "sent"), [(b"9", b"short"), (b"2", b"long")])
async def test_an_answer_of_another_length_than_it_says_ends_the_connection(
    said: bytes, sent: bytes
) -> None:
    protocol, wire = connect(answering(start((b"content-length", said)), body(sent)))
    protocol.data_received(GET)
    await turns()

    assert wire.is_closed


async def test_a_request_reaches_the_application_as_it_came() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({name: scope[name] for name in ("method", "path", "raw_path", "query_string")})
        seen.append(scope["headers"])
        parts = []
        while True:
            message = await receive()
            parts.append(message["body"])
            if not message["more_body"]:
                break
        seen.append(b"".join(parts))

    protocol, _ = connect(app)
    head = b"PUT /%C3%BC/a%2Fb?q=%20 HTTP/1.1\r\nX-Name: V\r\nContent-Length: 300000\r\n\r\n"
    protocol.data_received(head)
    for _ in range(3):
        protocol.data_received(b"z" * 100_000)
        await turns()

    assert seen == [
        {"method": "PUT", "path": "/ü/a/b", "raw_path": b"/%C3%BC/a%2Fb", "query_string": b"q=%20"},
        [(b"x-name", b"V"), (b"content-length", b"300000")],
        b"z" * 300_000,
    ]


async def test_a_sender_waits_while_its_body_is_not_taken() -> None:
    taken = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await taken.wait()
        while (await receive())["more_body"]:
            pass

    protocol, wire = connect(app)
    size = protocol.read_ahead_bytes
    protocol.data_received(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * size))
    protocol.data_received(b"z" * (size - 1))
    assert wire.is_heard
    protocol.data_received(b"z")
    await turns()
    assert not wire.is_heard

    taken.set()
    await turns()
    assert wire.is_heard


async def test_a_body_wakes_its_reader_when_it_is_whole_or_much_of_it_is_there() -> None:
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["more_body"]:
            seen.append(len(message["body"]))
        seen.append(len(message["body"]))

    protocol, _ = connect(app)
    much = protocol.wakes_at_bytes
    protocol.data_received(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (much + 3))
    for size in (1, much - 1, 1, 1, 1):
        protocol.data_received(b"z" * size)
        await turns()

    assert seen == [much, 3]


async def test_what_is_at_hand_is_taken_without_waiting() -> None:
    """A part that has come, and nothing before it or in its place."""
    seen: list[Message | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(take_at_hand(receive))
        seen.append(await receive())
        seen.append(take_at_hand(receive))
        await arrived.wait()
        seen.append(take_at_hand(receive))
        await send(start((b"content-length", b"0")))
        await send(body(b""))
        seen.append(take_at_hand(receive))

    arrived = asyncio.Event()
    protocol, wire = connect(app)
    size = protocol.read_ahead_bytes
    protocol.data_received(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * size))
    await turns()
    protocol.data_received(b"y" * size)
    await turns()
    protocol.data_received(b"z" * size)
    assert not wire.is_heard
    arrived.set()
    await turns()

    assert seen == [
        None,
        {"type": "http.request", "body": b"y" * size, "more_body": True},
        None,
        {"type": "http.request", "body": b"z" * size, "more_body": False},
        None,
    ]
    assert wire.is_heard


async def test_another_server_has_nothing_at_hand() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"all of it"}

    assert take_at_hand(receive) is None


async def test_what_comes_after_a_refusal_is_not_the_next_request() -> None:
    """An application that answers before it has read the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"2"), status=413))
        await send(body(b"no"))

    protocol, wire = connect(app)
    protocol.data_received(b"PUT / HTTP/1.1\r\nContent-Length: 40\r\n\r\n")
    await turns()
    protocol.data_received(GET.ljust(40, b" ")[:40])
    await turns()
    assert len(wire.written) == 1

    protocol.data_received(GET)
    await turns()
    assert len(wire.written) == 2


async def test_requests_in_one_piece_are_answered_in_their_order() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # The first takes longest.
        await turns(6 - len(scope["path"]))
        await send(start((b"content-length", b"%d" % len(scope["path"]))))
        await send(body(scope["raw_path"]))

    protocol, wire = connect(app)
    protocol.data_received(
        b"".join(b"GET %s HTTP/1.1\r\n\r\n" % path for path in (b"/", b"/a", b"/ab"))
    )
    await turns(40)

    assert [each.rpartition(b"\r\n")[2] for each in wire.written] == [b"/", b"/a", b"/ab"]


async def test_a_client_that_waits_for_100_is_told_when_its_body_is_wanted() -> None:
    protocol, wire = connect(answering(start(status=204), body(b"")))
    protocol.data_received(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await turns()
    assert wire.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]

    protocol.data_received(b"ok")
    await turns()
    assert wire.written[1].startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize("asked_by", ["client", "application", "version"])
async def test_a_connection_ends_after_the_answer_if_one_side_asks(asked_by: str) -> None:
    asks = ((b"connection", b"close"),) if asked_by == "application" else ()
    protocol, wire = connect(answering(start((b"content-length", b"0"), *asks), body(b"")))
    request = GET
    if asked_by == "client":
        request = GET.replace(b"Host: x", b"Connection: close")
    elif asked_by == "version":
        request = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
    protocol.data_received(request)
    await turns()

    assert b"connection: close\r\n" in wire.written[0]
    assert wire.is_closed


async def test_an_application_learns_that_its_client_left() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])

    protocol, _ = connect(app)
    protocol.data_received(GET)
    await turns()
    protocol.connection_lost(None)
    await turns()

    assert seen == ["http.disconnect"]


async def test_a_connection_that_rests_for_long_is_closed() -> None:
    protocol, wire = connect(answering(start(status=204), body(b"")), timeout_keep_alive=0.2)
    for _ in range(3):
        protocol.data_received(GET)
        await asyncio.sleep(0.12)
        assert not wire.is_closed
    await asyncio.sleep(0.4)

    assert wire.is_closed


async def test_bytes_that_are_no_request_are_refused() -> None:
    protocol, wire = connect(answering(start(), body(b"")))
    protocol.data_received(b"nonsense\r\n\r\n")

    assert wire.written[0].startswith(b"HTTP/1.1 400")
    assert wire.is_closed
