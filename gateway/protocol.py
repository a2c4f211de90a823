"""The listening side: uvicorn's httptools protocol, held to limits that uvicorn does not have.

uvicorn puts no bound on headers or on the time they take, and lets a request line name another
server. These checks have to sit where the bytes arrive, before there is a request to answer.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from gateway.handshake import is_handshake
from gateway.headers import request_id_in
from gateway.settings import GatewaySettings
from shared.connections import LeanProtocol

log = structlog.get_logger(__name__)

_LINGER_BYTES: Final = 64 * 1024 * 1024

_VERSIONS: Final = frozenset({"1.0", "1.1"})


@dataclass(frozen=True, slots=True)
class ProtocolLimits:
    """What one connection may do."""

    max_header_bytes: int
    max_header_fields: int
    max_url_bytes: int
    header_deadline_s: float
    slow_reader_s: float
    linger_s: float
    max_connections: int

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> "ProtocolLimits":
        """The limits that the settings name."""
        return cls(
            max_header_bytes=settings.gateway_max_header_bytes,
            max_header_fields=settings.gateway_max_header_fields,
            max_url_bytes=settings.gateway_max_url_bytes,
            header_deadline_s=settings.gateway_header_deadline_s,
            slow_reader_s=settings.gateway_slow_reader_s,
            linger_s=settings.gateway_linger_s,
            max_connections=settings.gateway_max_connections,
        )


class _Refused(Exception):
    """A request that is not read any further."""


_REFUSALS: Final[dict[int, tuple[str, str, str]]] = {
    400: ("bad-request", "Bad request", "This is not a request that is read here."),
    405: ("method-not-allowed", "Method not allowed", "There is no tunnel through this server."),
    408: ("request-timeout", "Request timeout", "The headers came too slowly."),
    414: ("uri-too-long", "URI too long", "The address is too long."),
    431: ("headers-too-large", "Headers too large", "The headers are too long or too many."),
    503: ("service-unavailable", "Service unavailable", "There are too many connections."),
}


def protocol_class(limits: ProtocolLimits) -> type[LeanProtocol]:
    """A protocol class for uvicorn whose connections keep to `limits`."""

    class LimitedProtocol(EdgeProtocol):
        """`EdgeProtocol` with these limits."""

        limits_of_class = limits

    return LimitedProtocol


class EdgeProtocol(LeanProtocol):
    """Reads requests from one client connection."""

    limits_of_class: ProtocolLimits

    # What came is passed on at once.
    wakes_at_bytes = 1
    read_ahead_bytes = 128 * 1024

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = self.limits_of_class
        self._header_bytes = 0
        self._reading_headers = False
        self._is_deaf = False
        self._refusal = 400
        self._lingered_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._reader_deadline: asyncio.TimerHandle | None = None

    # Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Give the client its time for a first request."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(503)
            return
        self._arm(self._limits.header_deadline_s, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._disarm()
        if self._reader_deadline is not None:
            self._reader_deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent, unless nothing more is wanted from it."""
        if self._is_deaf:
            self._linger(len(data))
            return
        if self.reading_body and self.cycle.response_complete:
            self._linger(len(data))
        self.rested_at = 0.0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse(self._refusal)
            return
        if self._deadline is None and self._reading_headers:
            self._arm(self._limits.header_deadline_s, self._headers_are_late)

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            # The request was answered as if it had not asked; what follows it is not HTTP.
            self._is_deaf = True
            return
        is_first_in_line = self.cycle is None or self.cycle.response_complete
        if is_first_in_line and is_handshake(self.scope["method"], self.headers):
            self.handle_websocket_upgrade()
        else:
            self._refuse(400)

    # Requests

    def on_message_begin(self) -> None:
        """A request begins, if the connection was still to be used."""
        if self.cycle is not None and not self.cycle.keep_alive:
            self._is_deaf = True
            raise _Refused
        super().on_message_begin()
        self._header_bytes = 0
        self._reading_headers = True

    def on_url(self, url: bytes) -> None:
        """Collect the request target within its limit."""
        self.url += url
        if len(self.url) > self._limits.max_url_bytes:
            self._give_up(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header within the limits; of a trailer nothing is kept."""
        if not self._reading_headers:
            return
        # What the line takes on the wire: name, colon, space, value, line end.
        self._header_bytes += len(name) + len(value) + 4
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            # Any other coding is one more way for two readers to disagree on a body's end.
            self._give_up(400)
        self.headers.append((name, value))
        if (
            self._header_bytes > self._limits.max_header_bytes
            or len(self.headers) > self._limits.max_header_fields
        ):
            self._give_up(431)

    def on_headers_complete(self) -> None:
        """Hand over a request whose target is a path, and only that."""
        self._reading_headers = False
        if self._deadline is not None:
            self._disarm()
        if self.parser.get_method() == b"CONNECT":
            self._give_up(405)
        if not self.url.startswith(b"/") or b"#" in self.url:
            self._give_up(400)
        if self.parser.get_http_version() not in _VERSIONS:
            self._give_up(400)
        self._lingered_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.reading_body and self._lingered_bytes:
            self._disarm()
        super().on_message_complete()

    def rest(self) -> None:
        """Throw away what is left of a body, or wait for the next request."""
        if self.reading_body:
            self._leave_body()
        else:
            super().rest()

    def _leave_body(self) -> None:
        """Throw the rest of a refused body away for a moment, so that the answer is read."""
        if self.expect_100_continue:
            # Whether the client still sends a body that nobody asked it for cannot be known.
            self._is_deaf = True
            self._close_after_lingering()
        elif self._deadline is None:
            self._arm(self._limits.linger_s, self._close)

    # Refusals

    def _give_up(self, status: int) -> None:
        """Leave the parser: nothing after this byte is read as a request."""
        self._refusal = status
        raise _Refused

    def _refuse(self, status: int) -> None:
        """Answer what is not a request, unless an answer to an earlier one is on its way."""
        self._is_deaf = True
        request_id = None
        if self.reading_body:
            request_id = self._break_off()
            if request_id is None:
                return
        elif self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        if not self.transport.is_closing():
            self._write_refusal(status, request_id or request_id_in(self.headers))

    def _break_off(self) -> str | None:
        """End a request whose body broke: whoever waits for it must not take it as whole.

        Returns its id where it can still be answered.
        """
        cycle = self.cycle
        if cycle.response_complete:
            self._close_after_lingering()
            return None
        if cycle is not self.running or cycle.response_started:
            self.transport.abort()
            return None
        request_id: str | None = cycle.scope["state"].get("request_id")
        if request_id is None:
            # The application has not begun with it; it will call it the same.
            request_id = request_id_in(cycle.scope["headers"])
            self.headers.append((b"x-request-id", request_id.encode()))
        cycle.leave()
        self.flow.resume_reading()
        return request_id

    def _write_refusal(self, status: int, request_id: str) -> None:
        slug, title, detail = _REFUSALS[status]
        log.info("request_refused", status=status, problem=slug, request_id=request_id)
        problem = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
        body = json.dumps(problem).encode()
        lines = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        if status == 503:
            lines.append(b"retry-after: 1\r\n")
        lines += (
            b"content-type: application/problem+json\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\nx-request-id: ",
            request_id.encode(),
            b"\r\ncontent-length: ",
            str(len(body)).encode(),
            b"\r\n\r\n",
            body,
        )
        self.transport.write(b"".join(lines))
        self._close_after_lingering()

    def _close_after_lingering(self) -> None:
        """Close our half, and read on for a moment: an unread byte would erase the answer."""
        self._disarm()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._arm(min(1.0, self._limits.linger_s), self._close)
        else:
            self.transport.close()

    def _linger(self, size: int) -> None:
        self._lingered_bytes += size
        if self._lingered_bytes > _LINGER_BYTES:
            self.transport.abort()

    # Clocks

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(delay_s, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _headers_are_late(self) -> None:
        self._deadline = None
        if self._reading_headers:
            self._refuse(408)
        else:
            self.transport.close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered: give it a limited time."""
        super().pause_writing()
        if self._reader_deadline is None:
            self._reader_deadline = self.loop.call_later(
                self._limits.slow_reader_s, self.transport.abort
            )

    def resume_writing(self) -> None:
        """The client caught up."""
        super().resume_writing()
        if self._reader_deadline is not None:
            self._reader_deadline.cancel()
            self._reader_deadline = None

    def shutdown(self) -> None:
        """Let the request under way end, then close."""
        if self.cycle is None or self.cycle.response_complete:
            self._disarm()
        super().shutdown()
