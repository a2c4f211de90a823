"""Socket.IO for the original page's client: Engine.IO 3 over long polling (Q23, Q24).

Small enough to be seen through: no WebSocket is offered, frames are text, and every queue ends.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qs

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.fleet.realtime.admission import Admission, NotAdmitted, Wish
from services.fleet.realtime.hub import DROPPED, MAX_QUEUED, NAMESPACE, Hub
from services.fleet.realtime.limits import (
    MAX_MESSAGE_BYTES,
    MAX_PACKETS_IN_PAYLOAD,
    UNADMITTED_S,
    Bucket,
    Places,
)
from shared.assertions import CLIENT_ADDRESS_HEADER
from shared.problems import Problem

log = structlog.get_logger(__name__)

_SWEEP_S: Final = 5.0
#: The client's own heartbeat ends a poll sooner.
_POLL_S: Final = 40.0
_NOOP: Final = "6"


class Malformed(ValueError):
    """What a client sent is no payload."""


class _Session:
    """One client: what waits for it, and its poll."""

    def __init__(self, sid: str, address: str) -> None:
        self.sid = sid
        self.address = address
        self.waiting: deque[str] = deque()
        self.news = asyncio.Event()
        self.seen_at = self.opened_at = time.monotonic()
        self.bucket = Bucket()
        self.is_on_namespace = False
        self.is_admitted = False
        self.is_polling = False
        self.is_over = False

    def add(self, packet: str) -> bool:
        """Queue an Engine.IO packet; False when there is no room."""
        if len(self.waiting) >= MAX_QUEUED:
            return False
        self.waiting.append(packet)
        self.news.set()
        return True

    def push(self, text: str) -> bool:
        """See `Transport`."""
        return self.is_over or self.add(f"4{text}")

    def cut(self) -> None:
        """See `Transport`."""
        self.is_over = True
        self.waiting.clear()
        self.news.set()


class Engine3:
    """The ASGI application for `EIO=3`."""

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
        self._hub = hub
        self._admission = admission
        self._places = places
        self._replica = replica
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._sessions: dict[str, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a WebSocket is refused, as the handshake offers none."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    def knows(self, sid: str) -> bool:
        """Whether a connection is one of these."""
        return sid in self._sessions

    async def _answer(self, request: Request) -> Response:
        query = parse_qs(request.scope["query_string"].decode("latin-1"))
        if query.get("transport", ["polling"])[0] != "polling" or "j" in query:
            return _bad(0, "Transport unknown")
        sid = query.get("sid", [""])[0]
        if not sid:
            return self._open(request) if request.method == "GET" else _bad(2, "Bad handshake")
        session = self._sessions.get(sid)
        if session is None:
            return _bad(1, "Session ID unknown")
        session.seen_at = time.monotonic()
        if request.method == "GET":
            return await self._poll(session)
        if request.method == "POST":
            return await self._take(session, request)
        return _bad(2, "Bad request")

    def _open(self, request: Request) -> Response:
        address = request.headers.get(CLIENT_ADDRESS_HEADER) or "unknown"
        if not self._places.take(address):
            return _bad(3, "Too many connections", status=503)
        sid = f"{secrets.token_hex(16)}.{self._replica}"
        session = self._sessions[sid] = _Session(sid, address)
        handshake = {
            "sid": sid,
            "upgrades": [],
            "pingTimeout": int(self._ping_timeout_s * 1000),
            "pingInterval": int(self._ping_interval_s * 1000),
        }
        session.is_polling = False
        # The root namespace is joined by the server.
        return _payload([f"0{json.dumps(handshake, separators=(',', ':'))}", "40"])

    async def _poll(self, session: _Session) -> Response:
        if session.is_polling:
            # A second poll of one client: the first one's answer would be lost.
            self._end(session, "two-polls")
            return _bad(2, "Bad request")
        session.is_polling = True
        try:
            if not session.waiting and not session.is_over:
                session.news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await session.news.wait()
        finally:
            session.is_polling = False
            session.seen_at = time.monotonic()
        if session.is_over:
            self._end(session, "over")
            return _payload(["1"])
        packets = list(session.waiting) or [_NOOP]
        session.waiting.clear()
        return _payload(packets)

    async def _take(self, session: _Session, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_MESSAGE_BYTES:
                self._end(session, "flood")
                return _bad(2, "Payload too large", status=413)
        try:
            packets = read_payload(body)
        except Malformed:
            self._end(session, "packet")
            return _bad(2, "Bad request")
        for packet in packets:
            if not session.bucket.take():
                self._end(session, "flood")
                return _bad(2, "Too many packets")
            if not await self._receive(session, packet):
                self._end(session, "left")
                break
        return PlainTextResponse("ok")

    async def _receive(self, session: _Session, packet: str) -> bool:
        """Do what a packet says; False when it ends the connection."""
        kind, data = packet[:1], packet[1:]
        if kind == "2":
            # Here the client asks, and the server answers.
            return session.add(f"3{data[:64]}")
        if kind == "1":
            return False
        if kind == "4":
            return await self._message(session, data)
        return kind in ("3", "5", "6")

    async def _message(self, session: _Session, data: str) -> bool:
        kind, rest = data[:1], data[1:]
        namespace, _, payload = rest.partition(",")
        # The genuine client ends the name with a comma, and may add a query to it.
        if namespace.partition("?")[0] != NAMESPACE:
            return True
        if kind == "0":
            session.is_on_namespace = True
            return session.add(f"40{NAMESPACE}")
        if kind == "1":
            session.is_on_namespace = False
            session.is_admitted = False
            self._hub.leave(session)
            return True
        if kind == "2" and session.is_on_namespace:
            await self._event(session, payload)
        return True

    async def _event(self, session: _Session, payload: str) -> None:
        # An acknowledgement's number may come first; the original's calls have none.
        try:
            found = json.loads(payload.lstrip("0123456789"))
        except (ValueError, RecursionError):
            return
        if not isinstance(found, list) or len(found) < 2 or found[0] != "get_alert":
            return
        with contextlib.suppress(NotAdmitted, Problem):
            await self._admission.admit(session, Wish.read(found[1]))
            session.is_admitted = True

    def _end(self, session: _Session, reason: str) -> None:
        if self._sessions.pop(session.sid, None) is None:
            return
        if reason not in ("left", "over"):
            DROPPED.labels(reason).inc()
        session.cut()
        self._hub.leave(session)
        self._places.give_back(session.address)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Engine3"]:
        """End clients that are silent or show no token, until the block ends; then everybody."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
            for session in tuple(self._sessions.values()):
                self._end(session, "stopping")

    async def _sweep(self) -> None:
        silent_s = self._ping_interval_s + self._ping_timeout_s
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for session in tuple(self._sessions.values()):
                is_silent = not session.is_polling and now - session.seen_at > silent_s
                if session.is_over or is_silent:
                    self._end(session, "silent")
                elif not session.is_admitted and now - session.opened_at > UNADMITTED_S:
                    self._end(session, "unadmitted")


def read_payload(body: bytes) -> list[str]:
    """The packets of a text payload: lengths count UTF-16 units, as JavaScript does.

    Raises:
        Malformed: the lengths do not fit, or there are too many packets.
    """
    try:
        units = body.decode().encode("utf-16-le")
    except UnicodeDecodeError as error:
        raise Malformed from error
    packets: list[str] = []
    at = 0
    colon = ":".encode("utf-16-le")
    while at < len(units):
        end = units.find(colon, at)
        length = units[at:end].decode("utf-16-le", "replace") if end >= 0 else ""
        if end < 0 or (end - at) > 16 or not (length.isascii() and length.isdigit()):
            raise Malformed
        start = end + 2
        at = start + 2 * int(length)
        if at > len(units) or not int(length) or len(packets) >= MAX_PACKETS_IN_PAYLOAD:
            raise Malformed
        try:
            packets.append(units[start:at].decode("utf-16-le"))
        except UnicodeDecodeError as error:
            raise Malformed from error
    return packets


def _payload(packets: list[str]) -> Response:
    """Packets as text; all of them are ASCII, so that characters, units and bytes are one."""
    return PlainTextResponse("".join(f"{len(packet)}:{packet}" for packet in packets))


def _bad(code: int, text: str, *, status: int = 400) -> Response:
    return JSONResponse({"code": code, "message": text}, status)
