"""Carries a WebSocket to a service, and ends it when its caller's credential ends."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import Receive, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from gateway.counters import WEBSOCKETS
from gateway.credentials import Doorman, Verified
from gateway.errors import BadGateway, ServiceUnavailable
from gateway.headers import HeaderPair
from gateway.introspection import CredentialRefused
from gateway.route import Route
from gateway.upstream import Upstream
from shared.problems import Problem

log = structlog.get_logger(__name__)

POLICY_VIOLATION: Final = 1008
_GOING_AWAY: Final = 1001
#: Codes that a peer never sends: they only say that there was none.
_UNSENDABLE: Final = frozenset({1005, 1006, 1015})


@dataclass(frozen=True, slots=True)
class WebSocketRequest:
    """A handshake that the policy lets pass."""

    route: Route
    upstream: Upstream
    verified: Verified
    target: str
    """Path and query as the service gets to see them."""
    headers: list[HeaderPair]
    """For the service, the assertion among them."""
    subprotocols: list[str]
    authorization: bytes | None
    query: bytes
    """As the client sent it, to check its token again."""
    address: str


class WebSocketForwarder:
    """Opens the service's side of a WebSocket and moves messages both ways."""

    def __init__(
        self,
        doorman: Doorman,
        *,
        connect_deadline_s: float,
        check_s: float,
        max_message_bytes: int,
    ) -> None:
        self._doorman = doorman
        self._connect_deadline_s = connect_deadline_s
        self._check_s = check_s
        self._max_message_bytes = max_message_bytes
        self._recheck: set[asyncio.Event] = set()

    def recheck_all(self) -> None:
        """Look at every open socket's credential now: something was revoked."""
        for event in self._recheck:
            event.set()

    async def carry(
        self,
        request: WebSocketRequest,
        answer_headers: list[HeaderPair],
        receive: Receive,
        send: Send,
    ) -> None:
        """Carry one WebSocket from its handshake to its end.

        Raises:
            Problem: the service did not accept it; nothing has been answered yet.
        """
        if request.upstream.breaker.is_open:
            raise ServiceUnavailable(f"The service {request.upstream.name} is away for the moment.")
        await receive()  # websocket.connect
        service = await self._connect(request)
        event = asyncio.Event()
        self._recheck.add(event)
        WEBSOCKETS.inc()
        tasks: list[asyncio.Task[tuple[int, str]]] = []
        try:
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": service.subprotocol,
                    "headers": answer_headers,
                }
            )
            tasks = [
                asyncio.create_task(_to_service(receive, service)),
                asyncio.create_task(_to_client(service, send)),
                asyncio.create_task(self._watch_credential(request, event)),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, reason = done.pop().result()
            await service.close(_GOING_AWAY if code in _UNSENDABLE else code, reason)
            if code != _CLIENT_LEFT:
                await send({"type": "websocket.close", "code": code, "reason": reason})
        finally:
            WEBSOCKETS.dec()
            self._recheck.discard(event)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await service.close()

    async def _connect(self, request: WebSocketRequest) -> ClientConnection:
        upstream = request.upstream
        try:
            return await connect(
                f"ws://{upstream.authority.decode()}{request.target}",
                additional_headers=[
                    (name.decode("ascii"), value.decode("latin-1"))
                    for name, value in request.headers
                ],
                subprotocols=[Subprotocol(name) for name in request.subprotocols] or None,
                open_timeout=self._connect_deadline_s,
                max_size=self._max_message_bytes,
                max_queue=4,
                compression=None,
                user_agent_header=None,
                proxy=None,
            )
        except InvalidStatus as error:
            raise _refused_by_service(error, upstream.name) from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            upstream.failed()
            raise BadGateway(f"The service {upstream.name} cannot be reached.") from error

    async def _watch_credential(
        self, request: WebSocketRequest, event: asyncio.Event
    ) -> tuple[int, str]:
        """Return when the caller would not be let in any more."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._check_s):
                    await event.wait()
            event.clear()
            try:
                found = await self._doorman.find(
                    request.route,
                    request.authorization,
                    request.query,
                    request.address,
                    time.time(),
                )
            except CredentialRefused as refused:
                return POLICY_VIOLATION, refused.reason.value
            except Problem:
                # What cannot be checked is not let in; the client may come back.
                return POLICY_VIOLATION, "unchecked"
            if found.caller != request.verified.caller:
                return POLICY_VIOLATION, "changed"


_CLIENT_LEFT: Final = 1006


async def _to_service(receive: Receive, service: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return _CLIENT_LEFT, ""
            text = message.get("text")
            await service.send(text if text is not None else message["bytes"])
    except ConnectionClosed as closed:
        return _closing(closed)


async def _to_client(service: ClientConnection, send: Send) -> tuple[int, str]:
    try:
        async for message in service:
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})
    except ConnectionClosed as closed:
        return _closing(closed)
    code = service.close_code or _GOING_AWAY
    return (_GOING_AWAY if code in _UNSENDABLE else code), service.close_reason or ""


def _closing(closed: ConnectionClosed) -> tuple[int, str]:
    if closed.rcvd is not None and closed.rcvd.code not in _UNSENDABLE:
        return closed.rcvd.code, closed.rcvd.reason
    return _GOING_AWAY, ""


def _refused_by_service(error: InvalidStatus, name: str) -> Problem:
    """The service's refusal of a handshake, with its status and without its internals."""
    status = error.response.status_code
    if not 400 <= status < 500:
        return BadGateway(f"The service {name} did not accept the WebSocket.")
    kind = type(
        "WebSocketRefused",
        (Problem,),
        {"status": status, "slug": "websocket-refused", "title": "WebSocket refused"},
    )
    problem: Problem = kind(f"The service {name} did not accept the WebSocket.")
    return problem
