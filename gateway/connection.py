"""One connection to a service: a small HTTP/1.1 client made for forwarding.

It reads answers with httptools, the parser that refuses every smuggling probe, and hands over raw
header bytes and body parts as they arrive. A general client builds objects for each of these, which
costs more than everything else the gateway does (bench/gateway).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import httptools

if TYPE_CHECKING:
    from gateway.upstream import Upstream


#: A part of an answer that its reader has not taken yet; beyond this the service has to wait.
_READ_AHEAD_BYTES: Final = 256 * 1024
#: A part of a request's body that the service has not taken yet.
_WRITE_AHEAD_BYTES: Final = 256 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_NO_BODY_STATUS: Final = frozenset({204, 304})


class UpstreamFailed(Exception):
    """The service could not be reached, broke off, or its answer is not HTTP."""


class UpstreamUnreachable(UpstreamFailed):
    """No connection was made, so nothing of the request was seen."""


class UpstreamStale(UpstreamFailed):
    """A reused connection had been closed before any byte of the answer came."""


class UpstreamTimedOut(UpstreamFailed):
    """The service took longer than the deadline."""


class UpstreamBusy(UpstreamFailed):
    """As many requests as the service may have are at it already."""


class Connection(asyncio.Protocol):
    """One connection to a service, which serves one exchange after another."""

    __slots__ = (
        "_bytes_ahead", "_chunks", "_drained", "_failure", "_framed", "_head_bytes", "_is_head",
        "_lost", "_parser", "_read_paused", "_reusable", "_transport", "_upstream", "_waiter",
        "asked_at", "complete", "deadline_at", "exchanges", "headers", "heard_at",
        "on_slow", "rested_at", "started", "status", "total_deadline_at",
    )  # fmt: skip

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._read_paused = False
        self._drained: asyncio.Event | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._failure: UpstreamFailed | None = None
        self._framed = self._is_head = self._reusable = False
        self._bytes_ahead = self._head_bytes = 0
        self.exchanges = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.started = self.complete = True
        self.asked_at = self.heard_at = self.rested_at = 0.0
        self.deadline_at = self.total_deadline_at = float("inf")
        self.on_slow: Callable[[], None] | None = None
        """Called once when the exchange is not over after a second."""

    # The exchange, as the gateway sees it.

    def ask(self, head: bytes, body: bytes, *, is_head: bool, now: float) -> None:
        """Begin an exchange by writing the request's head and what is there of its body."""
        self.exchanges += 1
        self.status = 0
        self.headers = []
        self.started = self.complete = False
        self.on_slow = None
        self._framed = False
        self._reusable = True
        self._is_head = is_head
        self._bytes_ahead = self._head_bytes = 0
        self.asked_at = self.heard_at = now
        self.deadline_at = float("inf")
        self.total_deadline_at = now + self._upstream.total_deadline_s
        if self._transport is None or self._lost:
            raise UpstreamStale("The connection was closed while it rested.")
        self._transport.write(head + body if body else head)

    def expect_answer_by(self, deadline_at: float) -> None:
        """The request is wholly sent: from now on its deadline runs."""
        self.deadline_at = deadline_at

    async def send_body(self, part: bytes) -> None:
        """Write a further part of the request's body, as fast as the service takes it."""
        if self._transport is None or self._lost or self._transport.is_closing():
            raise UpstreamFailed("The service closed the connection while the body was sent.")
        self._transport.write(part)
        if self._drained is not None:
            await self._drained.wait()

    async def wait_started(self) -> None:
        """Return when the answer's status and headers are there.

        Raises:
            UpstreamFailed: they will not come.
        """
        while not self.started:
            await self._wait()

    async def read_body(self) -> bytes:
        """The next part of the answer's body; empty when there is no more.

        Raises:
            UpstreamFailed: the service broke off in the middle.
        """
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        return self.take_body()

    def take_body(self) -> bytes:
        """What has arrived of the body and was not taken yet, possibly nothing."""
        chunks = self._chunks
        if len(chunks) == 1:
            body = chunks.popleft()
        else:
            body = b"".join(chunks)
            chunks.clear()
        self._bytes_ahead = 0
        if self._read_paused:
            self._read_paused = False
            # A pause that the client's slowness caused is not the service's silence.
            self.heard_at = self._upstream.time()
            if self._transport is not None:
                self._transport.resume_reading()
        return body

    def release(self) -> None:
        """Give the connection back: to the resting ones when its exchange is clean and over."""
        reusable = self.complete and self._reusable and not self._lost and not self._chunks
        if not reusable:
            self.abort()
        self._upstream.give_back(self, reusable=reusable)

    def abort(self) -> None:
        """Close at once."""
        self._reusable = False
        if self._transport is not None and not self._lost:
            self._transport.abort()

    def fail(self, failure: UpstreamFailed, *, exchange: int | None = None) -> None:
        """End the exchange with `failure`, which its reader gets to see.

        Args:
            failure: what happened.
            exchange: the number of the only exchange that is meant; None means the present one.
        """
        if self.complete or self._failure is not None:
            return
        if exchange is not None and exchange != self.exchanges:
            return
        self._failure = failure
        self._wake()
        self.abort()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = waiter = self._upstream.loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._drained is not None:
            self._drained.set()

    @property
    def is_silent_since(self) -> float:
        """When the service was last heard of, or infinity while it owes nothing."""
        return float("inf") if self.complete or self._read_paused else self.heard_at

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way to write."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_AHEAD_BYTES)

    def data_received(self, data: bytes) -> None:
        """Parse what the service sent."""
        if self.complete:
            # An answer that nobody asked for: whoever would read it next would get another's.
            self._lost = True
            self.abort()
            return
        self.heard_at = self._upstream.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.complete:
                self._reusable = False
                self._wake()
            else:
                self.fail(UpstreamFailed("The service's answer is not HTTP."))
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader that no more will come."""
        self._lost = True
        if not self.complete and self._failure is None:
            stale = self.exchanges > 1 and not self._head_bytes and not self.started
            kind = UpstreamStale if stale else UpstreamFailed
            self._failure = kind("The service closed the connection before its answer ended.")
        self._wake()
        self._upstream.lost(self)

    def eof_received(self) -> bool:
        """Close: half-open connections to services have no use."""
        return False

    def pause_writing(self) -> None:
        """The service takes the request's body more slowly than it comes."""
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        """The service caught up."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, and note how the body is framed."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _MAX_HEAD_BYTES:
            raise ValueError("The answer's headers are too long.")
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length" or name == b"transfer-encoding":
            self._framed = True

    def on_headers_complete(self) -> None:
        """The answer begins, unless it is an interim one."""
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("The service switched protocols unasked.")
            self.headers = []
            self._framed = False
            return
        self.status = status
        self.started = True
        self._upstream.breaker.succeeded()
        if not self._parser.should_keep_alive():
            self._reusable = False
        if self._is_head:
            # The parser would wait for the body that the headers speak of.
            self._parser = httptools.HttpResponseParser(self)
            self.complete = True
        elif not self._framed and status not in _NO_BODY_STATUS:
            # Its end would be the connection's, which cannot be told from a break.
            raise ValueError("The service did not say how long its answer is.")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body until it is taken."""
        if self.complete:
            raise ValueError("The service sent a body that a HEAD answer does not have.")
        self._chunks.append(body)
        self._bytes_ahead += len(body)
        if self._bytes_ahead > _READ_AHEAD_BYTES and not self._read_paused:
            self._read_paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def on_message_begin(self) -> None:
        """Refuse a second answer to one question."""
        if self.started:
            raise ValueError("The service sent two answers.")

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.started:
            self.complete = True
