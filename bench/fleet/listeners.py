"""Thousands of clients of Socket.IO in one process: the least that speaks WebSocket."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Mapping

from shared.assertions import HEADER

Heard = Callable[["Listener", str, float], None]


class Listener(asyncio.Protocol):
    """One client: connects, shows its token, answers pings, and passes on what it hears."""

    def __init__(self, hello: str, assertion: str, heard: Heard) -> None:
        self._hello = hello
        self._assertion = assertion
        self._heard = heard
        self._buffer = bytearray()
        self._is_open = False
        self.is_added: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.alerts: set[int] = set()
        self.cursor: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n{HEADER}: {self._assertion}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Read whole frames."""
        now = time.perf_counter()
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self._buffer[:20]:
                self.close()
                return
            self._is_open = True
            del self._buffer[: end + 4]
        while len(self._buffer) >= 2:
            length, at = self._buffer[1] & 127, 2
            if length == 126:
                if len(self._buffer) < 4:
                    return
                length, at = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < at + length:
                return
            opcode = self._buffer[0] & 15
            payload = bytes(self._buffer[at : at + length])
            del self._buffer[: at + length]
            if opcode == 1:
                self._packet(payload.decode(), now)

    def _packet(self, text: str, now: float) -> None:
        if text.startswith("0"):
            self._say(self._hello)
        elif text == "2":
            self._say("3")
        elif text.startswith("42/alert,"):
            name, data = json.loads(text[9:])
            if name == "my_response" and not self.is_added.done():
                self.cursor = data["cursor"]
                self.is_added.set_result(None)
            if name == "an_alert":
                self.alerts.add(data["alert_id"])
                self.cursor = max(self.cursor or 0, data["event_id"])
            self._heard(self, name, now)

    def _say(self, text: str) -> None:
        data = text.encode()
        head = bytes((0x81,))
        if len(data) < 126:
            head += bytes((0x80 | len(data),))
        else:
            head += b"\xfe" + len(data).to_bytes(2, "big")
        assert self.transport is not None
        self.transport.write(head + bytes(4) + data)

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing more comes."""
        if not self.is_added.done():
            self.is_added.cancel()

    def close(self) -> None:
        """Leave at once."""
        if self.transport is not None:
            self.transport.abort()


async def connect(
    port: int, token: str, assertion: str, heard: Heard, since: int | None = None
) -> Listener:
    """A client that is entitled to notices."""
    auth: Mapping[str, object] = {"token": token, **({} if since is None else {"since": since})}
    hello = f"40/alert,{json.dumps(auth)}"
    loop = asyncio.get_running_loop()
    _, listener = await loop.create_connection(
        lambda: Listener(hello, assertion, heard), "127.0.0.1", port
    )
    await asyncio.wait_for(listener.is_added, 60)
    return listener
