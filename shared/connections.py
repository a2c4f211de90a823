"""How a process reads requests from a connection, and writes their answers.

uvicorn's own protocol copies a body three times on its way in, wakes for every 64 KB of it, writes
an answer's head by itself, and sets and cancels a timer for each request. Where thousands are
asked in a second, that is felt (docs/adr/0016).
"""

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Receive
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPScope

#: With a line break in its value, a header would be two.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Exchange(RequestResponseCycle):
    """One request and its answer, with as few copies and system calls as they can have.

    The answer's head is written together with the first part of its body, as ASGI asks for, and
    the request's body is handed on in the parts in which it came.
    """

    def __init__(
        self,
        scope: "HTTPScope",
        protocol: "LeanProtocol",
        *,
        expect_100_continue: bool,
        keep_alive: bool,
    ) -> None:
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.message_event = asyncio.Event()
        self.on_response = protocol.on_response_complete
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self.parts: list[bytes] = []
        self.parts_bytes = 0
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.chunked_encoding: bool | None = None
        self.expected_content_length = 0
        self._head = b""

    async def send(self, message: "ASGISendEvent") -> None:
        """Write one ASGI message."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.transport.is_closing():
            # Whoever reads too slowly is cut off while its answer waits here.
            self.disconnected = True
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._read_head(message["status"], message.get("headers", ()))
        elif (
            message["type"] == "http.response.body"
            and self.response_started
            and not self.response_complete
        ):
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} does not come at this point of an answer")

    def _read_head(self, status: int, headers: "Iterable[tuple[bytes, bytes]]") -> bytes:
        lines = [STATUS_LINE[status]]
        said: list[bytes] = []
        for stated, value in (*self.default_headers, *headers):
            name = stated.lower()
            if name == b"connection":
                # Only this server speaks of this connection; an application may ask to end it.
                self.keep_alive = self.keep_alive and value.lower() != b"close"
                continue
            lines += (name, b": ", value, b"\r\n")
            said += (name, value)
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
        if _CONTROL.search(b"".join(said)):
            raise RuntimeError(
                "a header of an answer holds a line break or another control character"
            )
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        has_body = self.scope["method"] != "HEAD" and status not in (204, 304)
        if not has_body:
            self.expected_content_length = 0
        elif self.chunked_encoding is None:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        elif self.chunked_encoding:
            size = len(body)
            body = b"%x\r\n%b\r\n" % (size, body) if size else b""
            if not more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The answer is longer than its Content-Length.")
        if self._head:
            body, self._head = self._head + body, b""
        if body:
            self.transport.write(body)
        if more:
            return
        if self.expected_content_length > 0:
            raise RuntimeError("The answer is shorter than its Content-Length.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def leave(self) -> None:
        """The client takes nothing more of this exchange, and sends nothing more to it."""
        self.disconnected = True
        self.message_event.set()

    async def receive(self) -> "ASGIReceiveEvent":
        """The next part of the request's body, or that the client left."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return self._take_part()

    def take_at_hand(self) -> "Message | None":
        """What `receive` would give, if it gave it at once; otherwise None."""
        if self.disconnected or self.response_complete or self.waiting_for_100_continue:
            return None
        if not self.message_event.is_set():
            return None
        self.flow.resume_reading()
        self.message_event.clear()
        return dict(self._take_part())

    def _take_part(self) -> "ASGIReceiveEvent":
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.parts_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}


def take_at_hand(receive: "Receive") -> "Message | None":
    """The next part of a body if it has come already, as `receive` would give it.

    Whoever bounds how long it waits needs no clock for what is there. ASGI does not offer it: a
    server that is not this one has nothing at hand.
    """
    exchange = getattr(receive, "__self__", None)
    return exchange.take_at_hand() if isinstance(exchange, Exchange) else None


class LeanProtocol(HttpToolsProtocol):
    """Reads requests from one connection; one timer watches many of its rests."""

    cycle: Exchange

    #: So much of a body wakes an application that waits for more of it, as its end does.
    wakes_at_bytes = 512 * 1024
    #: Of a body that the application has not taken yet; beyond this the sender has to wait.
    read_ahead_bytes = 512 * 1024

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.reading_body = False
        self.rested_at = 0.0
        self._rest_watch: asyncio.TimerHandle | None = None
        self.running: Exchange | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        if self._rest_watch is not None:
            self._rest_watch.cancel()
        if self.running is not None and not self.running.response_complete:
            # With pipelining it is not the newest request, the only one that uvicorn tells.
            self.running.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent."""
        self.rested_at = 0.0
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Hand a request over, unless another protocol takes the connection."""
        method = self.parser.get_method().decode("ascii")
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade and self._should_upgrade():
            self.scope["method"] = method
            return
        self.reading_body = True
        # Some clients offer HTTP/2 with every request; a server is free not to take it up.
        self.begin(method, keep_alive=self.parser.should_keep_alive() and not is_upgrade)

    def begin(self, method: str, *, keep_alive: bool) -> None:
        """Start the application, or let the request wait for the one before it."""
        raw_path, _, query = self.url.partition(b"?")
        scope = self.scope
        scope["method"] = method
        scope["http_version"] = version = self.parser.get_http_version()
        scope["raw_path"] = raw_path
        scope["path"] = unquote(raw_path.decode("latin-1"))
        scope["query_string"] = query
        before = self.cycle
        self.cycle = Exchange(
            scope,
            self,
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive and version != "1.0",
        )
        if before is None or before.response_complete:
            self._run(self.cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _run(self, exchange: Exchange) -> None:
        self.running = exchange
        self._start_asgi_task(exchange, self.app)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body until it is asked for."""
        exchange = self.cycle
        if not self.reading_body or exchange.response_complete:
            return
        exchange.parts.append(body)
        exchange.parts_bytes += len(body)
        if exchange.parts_bytes >= self.read_ahead_bytes:
            self.flow.pause_reading()
        if exchange.parts_bytes >= self.wakes_at_bytes:
            exchange.message_event.set()

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self.reading_body:
            return
        self.reading_body = False
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request; what is left of this one's body is thrown away."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            exchange, _ = self.pipeline.pop()
            assert isinstance(exchange, Exchange)
            self._run(exchange)
        else:
            self.rest()

    def rest(self) -> None:
        """Nothing is asked at the moment."""
        self.rested_at = self.loop.time()
        if self._rest_watch is None:
            self._watch_rest(self.timeout_keep_alive)

    def _watch_rest(self, delay_s: float) -> None:
        self._rest_watch = self.loop.call_later(delay_s, self._end_rest)

    def _end_rest(self) -> None:
        """Close a connection that has rested for long."""
        self._rest_watch = None
        if not self.rested_at or self.transport.is_closing():
            return
        left_s = self.rested_at + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._watch_rest(left_s)
