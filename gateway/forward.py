"""Carries one request to a service and its answer back, in parts, holding neither whole."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import structlog
from starlette.types import Receive, Send

from gateway.connection import (
    Connection,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamStale,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gateway.counters import RETRIES, UPSTREAM_FAILURES
from gateway.errors import (
    BadGateway,
    ContentTooLarge,
    GatewayTimeout,
    RequestTimeout,
    ServiceUnavailable,
)
from gateway.headers import HeaderPair, RequestHeaders, answer_headers
from gateway.route import Route
from gateway.settings import GatewaySettings
from gateway.upstream import Upstream
from shared.connections import take_at_hand
from shared.problems import Problem

log = structlog.get_logger(__name__)

#: What nginx calls a client that left before its answer.
CLIENT_LEFT: Final = 499
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(slots=True)
class Passage:
    """One request on its way through the gateway."""

    method: str
    started_s: float
    route: Route | None = None
    request_id: str = ""
    address: str = ""
    """The client's."""
    caller: str | None = None
    status: int = 0
    """Of the answer; 0 until it has begun."""
    answer_headers: list[HeaderPair] = field(default_factory=list)
    """What the gateway adds to the answer, whoever gives it."""
    rate_headers: tuple[HeaderPair, ...] = ()
    """What the gateway says of its own limit."""
    is_private: bool = False
    """Whether the answer depends on a credential, so that no cache may keep it."""


class _RequestCut(UpstreamFailed):
    """The client's part of an exchange ended early; `problem` tells the client why."""

    def __init__(self, problem: Problem | None) -> None:
        super().__init__("The request was cut.")
        self.problem = problem


class Forwarder:
    """Forwards requests to services under the limits of the settings."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._body_idle_s = settings.gateway_body_idle_s
        self._min_body_bytes = settings.gateway_min_body_bytes_per_s * self._body_idle_s

    async def forward(
        self,
        passage: Passage,
        upstream: Upstream,
        head: bytes,
        headers: RequestHeaders,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send `head` and the body, then give the client what the service answers.

        Raises:
            Problem: nothing has been answered yet, and the gateway has to.
        """
        assert passage.route is not None
        if upstream.breaker.is_open:
            raise ServiceUnavailable(f"The service {upstream.name} is away for the moment.")
        upstream.budget.requested()
        length = headers.body_length()
        if length == 0:
            await self._forward_bodiless(passage, upstream, head, receive, send)
            return
        route = passage.route
        body = _Body(receive, length, route.max_body_bytes, self)
        try:
            part = await body.read()
        except _RequestCut as cut:
            _report_cut(passage, cut)
            return
        framed = _frame(part, length, last=body.is_whole)
        connection = await self._ask(passage, upstream, head, framed)
        pumping: asyncio.Task[None] | None = None
        if body.is_whole:
            connection.expect_answer_by(connection.asked_at + route.deadline_s)
        else:
            pumping = asyncio.create_task(
                _pump(body, length, connection, upstream, route.deadline_s)
            )
        try:
            await self._answer(passage, upstream, connection, receive, send, pumping)
        except UpstreamStale as failure:
            # Parts of the body may have been read: nobody but the client can ask again.
            _report_failure(passage, upstream, failure)
        finally:
            if pumping is not None:
                pumping.cancel()

    async def _forward_bodiless(
        self, passage: Passage, upstream: Upstream, head: bytes, receive: Receive, send: Send
    ) -> None:
        """Forward a request that can be written again if a resting connection turns out dead."""
        assert passage.route is not None
        connection = await self._ask(passage, upstream, head, b"")
        connection.expect_answer_by(connection.asked_at + passage.route.deadline_s)
        try:
            await self._answer(passage, upstream, connection, receive, send, None)
        except UpstreamStale as failure:
            if passage.method not in _IDEMPOTENT or not upstream.budget.take():
                _report_failure(passage, upstream, failure)
                return
            RETRIES.labels(upstream.name).inc()
            connection = await self._ask(passage, upstream, head, b"", fresh=True)
            connection.expect_answer_by(connection.asked_at + passage.route.deadline_s)
            await self._answer(passage, upstream, connection, receive, send, None)

    async def _ask(
        self,
        passage: Passage,
        upstream: Upstream,
        head: bytes,
        body: bytes,
        *,
        fresh: bool = False,
    ) -> Connection:
        """A connection on which the request's beginning was written."""
        may_try_again = passage.method in _IDEMPOTENT and not fresh
        while True:
            try:
                resting = None if fresh else upstream.take()
                connection = resting or await upstream.open()
            except UpstreamBusy as error:
                raise ServiceUnavailable(f"The service {upstream.name} is busy.") from error
            except UpstreamUnreachable as error:
                if may_try_again and upstream.budget.take():
                    RETRIES.labels(upstream.name).inc()
                    may_try_again = False
                    continue
                upstream.failed()
                UPSTREAM_FAILURES.labels(upstream.name, "connect").inc()
                raise BadGateway(
                    f"The service {upstream.name} cannot be reached.", headers={"Retry-After": "1"}
                ) from error
            try:
                connection.ask(head, body, is_head=passage.method == "HEAD", now=upstream.time())
            except UpstreamStale:
                # It was closed while it rested, and nothing was written: a new one will do.
                connection.release()
                fresh = True
                continue
            return connection

    async def _answer(
        self,
        passage: Passage,
        upstream: Upstream,
        connection: Connection,
        receive: Receive,
        send: Send,
        pumping: "asyncio.Task[None] | None",
    ) -> None:
        watching: list[asyncio.Task[None]] = []

        def watch_client() -> None:
            # Only for what takes long: a task for every request would cost more than forwarding.
            watching.append(asyncio.create_task(_watch(receive, pumping, connection)))

        connection.on_slow = watch_client
        try:
            await connection.wait_started()
            await send(_start(passage, connection))
            if passage.method == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            # The first part may be empty: it takes the head along, which a client may wait for.
            part = connection.take_body()
            while not connection.complete:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await connection.read_body()
            await send({"type": "http.response.body", "body": part + connection.take_body()})
        except _RequestCut as cut:
            _report_cut(passage, cut)
        except UpstreamStale:
            raise
        except UpstreamFailed as failure:
            _report_failure(passage, upstream, failure)
        except BaseException:
            connection.abort()
            raise
        finally:
            connection.on_slow = None
            if pumping is not None and not pumping.done():
                # The service answered before it had read everything; the rest has no reader.
                connection.abort()
            for task in watching:
                task.cancel()
            connection.release()


def _start(passage: Passage, connection: Connection) -> dict[str, object]:
    passage.status = connection.status
    # A service that refuses by its own limit is not contradicted by what ours has left.
    rate_headers = passage.rate_headers if connection.status != 429 else ()
    headers = answer_headers(
        connection.headers, is_private=passage.is_private, rate_headers=rate_headers
    )
    headers += passage.answer_headers
    return {"type": "http.response.start", "status": connection.status, "headers": headers}


def _report_cut(passage: Passage, cut: _RequestCut) -> None:
    if passage.status == 0 and cut.problem is not None:
        raise cut.problem
    passage.status = passage.status or CLIENT_LEFT


def _report_failure(passage: Passage, upstream: Upstream, failure: UpstreamFailed) -> None:
    """Count and tell a failure; an answer that has begun is left unfinished, which cuts it."""
    upstream.failed()
    timed_out = isinstance(failure, UpstreamTimedOut)
    UPSTREAM_FAILURES.labels(upstream.name, "timeout" if timed_out else "broken").inc()
    log.warning(
        "upstream_failed",
        upstream=upstream.name,
        reason=type(failure).__name__,
        request_id=passage.request_id,
        begun=passage.status != 0,
    )
    if passage.status:
        return
    if timed_out:
        raise GatewayTimeout(
            f"The service {upstream.name} did not answer in time.", headers={"Retry-After": "5"}
        ) from failure
    raise BadGateway(
        f"The service {upstream.name} broke off.", headers={"Retry-After": "1"}
    ) from failure


class _Body:
    """A request's body as it arrives, held to its length, its cap and its pace."""

    __slots__ = ("_arrived", "_cap", "_forwarder", "_receive", "_window_bytes", "_window_ends",
                 "is_whole")  # fmt: skip

    def __init__(
        self, receive: Receive, length: int | None, cap: int, forwarder: Forwarder
    ) -> None:
        self._receive = receive
        self._cap = cap if length is None else length
        self._forwarder = forwarder
        self._arrived = 0
        self._window_bytes = 0.0
        self._window_ends = time.monotonic() + forwarder._body_idle_s
        self.is_whole = False

    async def read(self) -> bytes:
        """The next part.

        Raises:
            _RequestCut: the body is too long or too slow, or the client left.
        """
        message = take_at_hand(self._receive)
        while message is None:
            try:
                async with asyncio.timeout(self._window_ends - time.monotonic()):
                    message = await self._receive()
            except TimeoutError:
                self._next_window()
        if message["type"] != "http.request":
            raise _RequestCut(None)
        part: bytes = message.get("body", b"")
        self._arrived += len(part)
        if self._arrived > self._cap:
            raise _RequestCut(ContentTooLarge(f"The limit here is {self._cap} bytes."))
        self._window_bytes += len(part)
        if time.monotonic() > self._window_ends:
            self._next_window()
        self.is_whole = not message.get("more_body", False)
        return part

    def _next_window(self) -> None:
        if self._window_bytes < self._forwarder._min_body_bytes:
            raise _RequestCut(RequestTimeout("The body came too slowly."))
        self._window_bytes = 0.0
        self._window_ends = time.monotonic() + self._forwarder._body_idle_s


async def _pump(
    body: _Body, length: int | None, connection: Connection, upstream: Upstream, deadline_s: float
) -> None:
    """Send the rest of a body while the answer is awaited."""
    exchange = connection.exchanges
    try:
        while not body.is_whole:
            part = await body.read()
            framed = _frame(part, length, last=body.is_whole)
            if framed:
                await connection.send_body(framed)
        connection.expect_answer_by(upstream.time() + deadline_s)
    except UpstreamFailed as failure:
        connection.fail(failure, exchange=exchange)


async def _watch(
    receive: Receive, pumping: "asyncio.Task[None] | None", connection: Connection
) -> None:
    """End the exchange when the client leaves; while a body is sent, its pump watches."""
    exchange = connection.exchanges
    if pumping is not None:
        await asyncio.wait((pumping,))
    while (await receive())["type"] == "http.request":
        pass
    connection.fail(_RequestCut(None), exchange=exchange)


def _frame(part: bytes, length: int | None, *, last: bool) -> bytes:
    """A part of the body as it is written: in a chunk when no length was declared."""
    if length is not None:
        return part
    framed = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
    return framed + b"0\r\n\r\n" if last else framed
