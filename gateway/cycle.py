"""One request and its answer on a client's connection."""

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPScope

    from gateway.protocol import EdgeProtocol


class EdgeCycle(RequestResponseCycle):
    """One request and its answer, with as few copies and system calls as they can have.

    The answer's head is written together with the first part of its body, as ASGI asks for, and
    the request's body is handed on in the parts in which it came.
    """

    def __init__(
        self,
        scope: "HTTPScope",
        protocol: "EdgeProtocol",
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
        for name, value in (*self.default_headers, *headers):
            if name == b"connection":
                # Only this server speaks of this connection; an application may ask to end it.
                self.keep_alive = self.keep_alive and value != b"close"
                continue
            lines += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
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
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.parts_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}
