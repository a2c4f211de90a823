"""The listening side of WebSockets: which handshakes are read, and how a denied one ends."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

#: 16 bytes in base64.
_KEY_LENGTH: Final = 24
#: The library that reads the handshake again takes no longer line.
_MAX_LINE_BYTES: Final = 8_000


def is_handshake(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request for an upgrade has the form of RFC 6455, section 4.2.1."""
    keys, versions = [], []
    for name, value in headers:
        if len(name) + len(value) > _MAX_LINE_BYTES:
            return False
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
    return (
        method == "GET" and versions == [b"13"] and len(keys) == 1 and len(keys[0]) == _KEY_LENGTH
    )


class EdgeWebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose client may be denied or may leave without that being an error.

    uvicorn logs an error after every handshake that is answered with an HTTP response, and raises
    in an application that sends to a client which has just left.
    """

    async def send(self, message: "ASGISendEvent") -> None:
        """Write one ASGI message; a client that left learns of it by `receive`."""
        if self.transport.is_closing():
            return
        with contextlib.suppress(ClientDisconnected):
            await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
