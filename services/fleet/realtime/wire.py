"""The connection below a WebSocket, which the application cannot reach by its protocol.

uvicorn's `send` is a method of what holds the connection. Where that is not so, everything goes the
ordinary way: slower, and a client that does not read is ended by its missing heartbeats.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.types import Send


@dataclass(frozen=True, slots=True)
class Wire:
    """One WebSocket's connection."""

    transport: Any
    writable: asyncio.Event
    """Set while the client takes what is written."""
    protocol: Any
    """What keeps the WebSocket's state: `websockets`' protocol without input and output."""

    def write(self, frame: bytes) -> bool:
        """Write a whole frame; False where it would wait, or has to be packed for this client."""
        if (
            not self.writable.is_set()
            or self.transport.is_closing()
            or self.protocol.extensions
            or self.protocol.close_sent is not None
        ):
            return False
        self.transport.write(frame)
        return True

    def abort(self) -> None:
        """End it: what waits in its buffers for a client that does not read would wait for ever."""
        self.transport.abort()


def wire_of(send: Send) -> Wire | None:
    """The connection that `send` writes to, where it can be found."""
    holder = getattr(send, "__self__", None)
    transport = getattr(holder, "transport", None)
    writable = getattr(holder, "writable", None)
    protocol = getattr(holder, "conn", None)
    # uvloop's transports are no subclasses of asyncio's.
    is_known = hasattr(transport, "abort") and hasattr(protocol, "extensions")
    if not is_known or not isinstance(writable, asyncio.Event):
        return None
    return Wire(transport, writable, protocol)


def text_frame(text: str) -> bytes:
    """A server's text frame (RFC 6455, section 5.2), the same for every client."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
