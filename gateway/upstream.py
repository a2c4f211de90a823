"""One service as the gateway sees it: its connections, its deadlines, its breaker."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.breaker import Breaker, RetryBudget
from gateway.connection import (
    Connection,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamUnreachable,
)

#: Services close a resting connection after 75 s; ours must always be the first to let go.
_MAX_REST_S: Final = 30.0
_SWEEP_S: Final = 0.25
_SLOW_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A small answer, read whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Upstream:
    """One service: its connections, its breaker, its retry budget."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        service: str | None = None,
        max_in_flight: int = 512,
        connect_deadline_s: float = 2,
        answer_idle_s: float = 30,
        total_deadline_s: float = 900,
        hang_after_s: float = 1.5,
        probe_deadline_s: float = 2,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{name} needs an http address, not {url}")
        self.name = name
        self.service = service or name
        self.host, self.port = parts.hostname, parts.port or 80
        self.authority = f"{self.host}:{self.port}".encode()
        self.breaker = Breaker()
        self.budget = RetryBudget()
        self.total_deadline_s = total_deadline_s
        self.loop = asyncio.get_running_loop()
        self.time: Callable[[], float] = self.loop.time
        self._max_in_flight = max_in_flight
        self._connect_deadline_s = connect_deadline_s
        self._answer_idle_s = answer_idle_s
        self._hang_after_s = hang_after_s
        self._probe_deadline_s = probe_deadline_s
        self._resting: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening = 0
        self._stirred = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self.on_breaker: Callable[[Upstream, bool], None] = lambda _, __: None
        self._probed_at = 0.0

    @property
    def in_flight(self) -> int:
        """Exchanges under way."""
        return len(self._busy) + self._opening

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Close every connection."""
        for task in (self._sweeping, self._probing):
            if task is not None:
                task.cancel()
        for connection in (*self._resting, *self._busy):
            connection.abort()
        await asyncio.sleep(0)

    def take(self) -> Connection | None:
        """A resting connection, or None when a new one has to be opened.

        Raises:
            UpstreamBusy: the service has as many requests as it may have.
        """
        if len(self._busy) + self._opening >= self._max_in_flight:
            raise UpstreamBusy(f"{self.name} has all the requests it can take.")
        if not self._resting:
            return None
        connection = self._resting.pop()
        self._take(connection)
        return connection

    async def open(self) -> Connection:
        """A new connection.

        Raises:
            UpstreamUnreachable: nobody listens, or not in time.
        """
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_deadline_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self), self.host, self.port
                )
        except (OSError, TimeoutError) as error:
            raise UpstreamUnreachable(f"{self.name} cannot be reached.") from error
        finally:
            self._opening -= 1
        self._take(connection)
        return connection

    def _take(self, connection: Connection) -> None:
        self._busy.add(connection)
        self._stirred.set()

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """End a connection's exchange."""
        self._busy.discard(connection)
        if reusable:
            connection.rested_at = self.time()
            self._resting.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that was closed while it rested."""
        if connection.complete and connection in self._resting:
            self._resting.remove(connection)

    def failed(self) -> None:
        """Count a failure against the service."""
        self._stirred.set()
        if self.breaker.failed(self.time()):
            self.on_breaker(self, True)

    async def fetch(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        body: bytes = b"",
        *,
        deadline_s: float = 5,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> Answer:
        """Ask the service something of the gateway's own and read the answer whole.

        Raises:
            UpstreamFailed: there is no answer, or it is too long.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.authority.decode()}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        # A fresh connection: nothing of the gateway's own may fail because one had gone stale.
        connection = await self.open()
        try:
            now = self.time()
            connection.ask(head, body, is_head=method == "HEAD", now=now)
            connection.expect_answer_by(now + deadline_s)
            await connection.wait_started()
            parts, size = [], 0
            while part := await connection.read_body():
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise UpstreamFailed(f"The answer of {self.name} is too long.")
            return Answer(connection.status, connection.headers, b"".join(parts))
        finally:
            connection.release()

    async def _sweep(self) -> None:
        """Hold exchanges to their deadlines; one pass for all is cheaper than a timer for each."""
        while True:
            await self._rest()
            now = self.time()
            self._let_go(now)
            oldest = float("inf")
            for connection in tuple(self._busy):
                if not connection.started and now > connection.deadline_at:
                    connection.fail(UpstreamTimedOut(f"{self.name} did not answer in time."))
                elif now > connection.total_deadline_at:
                    connection.fail(UpstreamTimedOut(f"{self.name} took too long altogether."))
                elif connection.started:
                    if now - connection.is_silent_since > self._answer_idle_s:
                        connection.fail(UpstreamTimedOut(f"{self.name} stopped in its answer."))
                elif connection.deadline_at != float("inf"):
                    oldest = min(oldest, connection.is_silent_since)
                if connection.on_slow is not None and now - connection.asked_at > _SLOW_S:
                    on_slow, connection.on_slow = connection.on_slow, None
                    on_slow()
            self._probe_if_due(now, oldest)

    async def _rest(self) -> None:
        """Wait a moment; where nothing is under way, until something is or a connection is old."""
        await asyncio.sleep(_SWEEP_S)
        if self._busy or self.breaker.is_open:
            return
        self._stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MAX_REST_S if self._resting else None):
                await self._stirred.wait()

    def _let_go(self, now: float) -> None:
        """Close what has rested too long; the list is in the order of resting."""
        while self._resting and now - self._resting[0].rested_at > _MAX_REST_S:
            connection = self._resting.pop(0)
            connection.abort()

    def _probe_if_due(self, now: float, oldest: float) -> None:
        if self._probing is not None and not self._probing.done():
            return
        if self.breaker.is_open:
            is_due = now >= self.breaker.probe_at
        else:
            # Slow is not dead: while the probes are answered they are as rare as the silence.
            is_due = now - max(oldest, self._probed_at) > self._hang_after_s
        if is_due:
            self._probed_at = now
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask whether the service lives: a question that needs none of its resources."""
        try:
            async with asyncio.timeout(self._probe_deadline_s):
                await self.fetch("GET", "/livez", [], deadline_s=self._probe_deadline_s)
        except (UpstreamFailed, TimeoutError):
            if self.breaker.is_open:
                self.breaker.probe_failed(self.time())
            else:
                self.breaker.open(self.time())
                self.on_breaker(self, True)
            return
        if self.breaker.is_open:
            self.breaker.close()
            self.on_breaker(self, False)
