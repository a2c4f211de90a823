"""Socket.IO for today's clients: Engine.IO 4 by python-socketio, held within bounds."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qs

import engineio
import socketio
import structlog
from engineio.exceptions import QueueEmpty
from engineio.packet import MESSAGE, Packet
from socketio.exceptions import ConnectionRefusedError as Refused
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from services.fleet.realtime.admission import Admission, Admitted, NotAdmitted, Wish
from services.fleet.realtime.hub import DROPPED, MAX_QUEUED, NAMESPACE, Hub
from services.fleet.realtime.limits import MAX_MESSAGE_BYTES, UNADMITTED_S, Bucket, Places
from services.fleet.realtime.wire import Wire, text_frame, wire_of
from shared.assertions import CLIENT_ADDRESS_HEADER
from shared.problems import Problem

log = structlog.get_logger(__name__)

_SWEEP_S: Final = 5.0


class _Client:
    """What is known of one Engine.IO connection beside what the library keeps."""

    __slots__ = ("address", "bucket", "opened_at", "wire")

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket = Bucket()
        self.opened_at = time.monotonic()
        self.wire: Wire | None = None


class _Engine(engineio.AsyncServer):
    """Engine.IO whose queues end, and whose connection ids say which process they belong to."""

    def __init__(self, *, replica: int, places: Places, **options: Any) -> None:
        super().__init__(**options)
        self.clients: dict[str, _Client] = {}
        self._replica = replica
        self._framed: tuple[str, bytes] = ("", b"")
        self._places = places

    def generate_id(self) -> str:
        """A new connection's id: random, and the process behind the last dot."""
        return f"{super().generate_id()}.{self._replica}"

    async def send_packet(self, sid: str, pkt: Packet) -> None:
        """Queue a packet; who lets too many of them wait is cut off."""
        connection = self.sockets.get(sid)
        if connection is not None and connection.queue.qsize() >= MAX_QUEUED:
            self.cut(sid, "slow")
            return
        await super().send_packet(sid, pkt)

    def add(self, sid: str, environ: dict[str, Any]) -> bool:
        """Know a new connection; False when there is no place for it."""
        scope = environ["asgi.scope"]
        address = Headers(scope=scope).get(CLIENT_ADDRESS_HEADER) or "unknown"
        if not self._places.take(address):
            return False
        self.clients[sid] = _Client(address)
        connection = self.sockets[sid]
        connection.poll = functools.partial(_poll, connection)
        if scope["type"] == "websocket":
            self.clients[sid].wire = wire_of(environ["asgi.send"])
        return True

    def forget(self, sid: str) -> None:
        """Forget a connection."""
        client = self.clients.pop(sid, None)
        if client is not None:
            self._places.give_back(client.address)

    def upgraded(self, sid: str, send: Send) -> None:
        """A polling connection continues as a WebSocket."""
        client = self.clients.get(sid)
        if client is not None:
            client.wire = wire_of(send)

    def write(self, sid: str, text: str) -> bool:
        """Write a message at once where nothing waits; False where it has to queue.

        The frame is made once for all who get the same text: a fifth of the work of a task that
        wakes up for each of them (bench/fleet, events).
        """
        client = self.clients.get(sid)
        if client is None or client.wire is None or not self.sockets[sid].upgraded:
            return False
        if self._framed[0] is not text:
            self._framed = (text, text_frame(f"4{text}"))
        return client.wire.write(self._framed[1])

    def cut(self, sid: str, reason: str) -> None:
        """End a connection without asking its client."""
        connection, client = self.sockets.get(sid), self.clients.get(sid)
        if connection is None:
            return
        DROPPED.labels(reason).inc()
        log.info("socket_cut", reason=reason)
        while not connection.queue.empty():
            connection.queue.get_nowait()
        connection.queue.put_nowait(None)
        if client is not None and client.wire is not None:
            client.wire.abort()
        self.start_background_task(self._end, sid)

    async def _end(self, sid: str) -> None:
        connection = self.sockets.pop(sid, None)
        if connection is not None:
            await connection.close(wait=False, abort=True)


class _Server(socketio.AsyncServer):
    """Socket.IO without binary packets, which nothing here needs and which have no bound."""

    eio: _Engine

    def _engineio_server_class(self) -> type[_Engine]:
        return _Engine

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> object:
        if not self.eio.add(eio_sid, environ):
            return False
        return await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: object) -> None:
        self.eio.forget(eio_sid)
        await super()._handle_eio_disconnect(eio_sid, reason)

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        client = self.eio.clients.get(eio_sid)
        is_plain = isinstance(data, str) and data[:1] in ("0", "1", "2", "3")
        if not is_plain or client is None or not client.bucket.take():
            self.eio.cut(eio_sid, "flood")
            return
        try:
            await super()._handle_eio_message(eio_sid, data)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            log.info("packet_refused", error=type(error).__name__)
            self.eio.cut(eio_sid, "packet")


class _Connection:
    """One client on the namespace, as the hub sees it."""

    def __init__(self, engine: _Engine, eio_sid: str) -> None:
        self.eio_sid = eio_sid
        self._engine = engine

    def push(self, text: str) -> bool:
        """See `Transport`."""
        connection = self._engine.sockets.get(self.eio_sid)
        if connection is None or connection.closed:
            return True  # it is leaving by itself
        if connection.queue.empty() and self._engine.write(self.eio_sid, text):
            return True
        if connection.queue.qsize() >= MAX_QUEUED:
            return False
        connection.queue.put_nowait(Packet(MESSAGE, data=text))
        return True

    def cut(self) -> None:
        """See `Transport`."""
        self._engine.cut(self.eio_sid, "member")


class _Namespace(socketio.AsyncNamespace):
    """`/alert`: a client shows its token in `auth`, or in `get_alert` as the original's do."""

    def __init__(self, hub: Hub, admission: Admission) -> None:
        super().__init__(NAMESPACE)
        self._hub = hub
        self._admission = admission
        self._connections: dict[str, _Connection] = {}
        self._entering: set[asyncio.Task[None]] = set()
        self.admitted: set[str] = set()
        """Engine.IO connections that have shown a token."""

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        """Let a client in; a token that it shows has to be good."""
        eio_sid = self.server.manager.eio_sid_from_sid(sid, NAMESPACE)
        connection = _Connection(self.server.eio, eio_sid)
        if auth is not None:
            try:
                admitted = await self._admission.check(Wish.read(auth))
            except NotAdmitted as error:
                raise Refused("The token is not accepted.") from error
            except Problem as error:
                raise Refused("Tokens cannot be checked at the moment.") from error
            # A task of its own, because the library answers the connection after this returns.
            task = asyncio.create_task(self._enter(connection, admitted))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)
        self._connections[sid] = connection

    async def _enter(self, connection: _Connection, admitted: Admitted) -> None:
        with contextlib.suppress(Problem):
            await self._admission.enter(connection, admitted)
            self.admitted.add(connection.eio_sid)

    async def on_disconnect(self, sid: str, reason: object = None) -> None:
        """Forget a client."""
        connection = self._connections.pop(sid, None)
        if connection is not None:
            self.admitted.discard(connection.eio_sid)
            self._hub.leave(connection)

    async def on_get_alert(self, sid: str, data: object = None) -> None:
        """Let a client hear; to a bad token nothing is said, as the original did."""
        connection = self._connections.get(sid)
        if connection is None:
            return
        with contextlib.suppress(NotAdmitted, Problem):
            await self._admission.admit(connection, Wish.read(data))
            self.admitted.add(connection.eio_sid)

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Call the handler of an event; the names that clients make up have none."""
        if event not in ("connect", "disconnect", "get_alert") or len(args) > 4:
            return None
        return await super().trigger_event(event, *args)


class Engine4:
    """The ASGI application for `EIO=4`."""

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        places: Places,
        *,
        replica: int,
        ping_interval_s: float,
        ping_timeout_s: float,
    ) -> None:
        logger = logging.getLogger("socketio")
        logger.setLevel(logging.CRITICAL)
        self._namespace = _Namespace(hub, admission)
        self._server = _Server(
            async_mode="asgi",
            logger=logger,
            engineio_logger=logger,
            namespaces=[NAMESPACE],
            async_handlers=False,
            cors_allowed_origins=[],
            http_compression=False,
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            ping_interval=ping_interval_s,
            ping_timeout=ping_timeout_s,
            replica=replica,
            places=places,
        )
        self._server.register_namespace(self._namespace)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry one WebSocket."""
        if scope["type"] == "websocket":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            self._server.eio.upgraded(query.get("sid", [""])[0], send)
        await self._server.eio.handle_request(scope, receive, send)

    def knows(self, sid: str) -> bool:
        """Whether a connection is one of these."""
        return sid in self._server.eio.sockets

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Engine4"]:
        """End those who show no token in time, until the block ends; then end everybody."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
            for sid in tuple(self._server.eio.sockets):
                self._server.eio.cut(sid, "stopping")
            await self._server.shutdown()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            engine = self._server.eio
            before = time.monotonic() - UNADMITTED_S
            for sid, client in tuple(engine.clients.items()):
                if sid not in engine.sockets:
                    engine.forget(sid)
                elif client.opened_at < before and sid not in self._namespace.admitted:
                    engine.cut(sid, "unadmitted")


async def _poll(connection: Any) -> list[Packet]:
    """What the library's own `poll` does, without a task and its timer for every packet.

    Returns:
        The packets that wait, as soon as there is one; none when the connection is to end.
    """
    server = connection.server
    try:
        async with asyncio.timeout(server.ping_interval + server.ping_timeout):
            packets = [await connection.queue.get()]
    except TimeoutError as error:
        raise QueueEmpty from error
    connection.queue.task_done()
    while not connection.queue.empty():
        packets.append(connection.queue.get_nowait())
        connection.queue.task_done()
    if None in packets:
        packets = packets[: packets.index(None)]
        if packets:
            connection.queue.put_nowait(None)  # the end comes after what is before it
    return packets
