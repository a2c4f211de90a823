"""`/socket.io/`: sends each client to the engine that speaks its protocol."""

from typing import Any, Final, Protocol
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.fleet.origins import origin_allowed

PATHS: Final = frozenset({"/socket.io/", "/socket.io"})


class SocketEngine(Protocol):
    """What speaks one version of Engine.IO."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry one WebSocket."""
        ...

    def knows(self, sid: str) -> bool:
        """Whether a connection is one of its own."""
        ...


class SocketMiddleware:
    """Takes what is for Socket.IO past the framework, which would hide the connection below."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a Socket.IO request, or pass on."""
        if scope["type"] not in ("http", "websocket") or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope["state"]
        connection = HTTPConnection(scope)
        if not origin_allowed(connection, state["allowed_origins"]):
            await _refuse(scope, receive, send)
            return
        if scope["type"] == "http":
            scope["route"] = _Route
            send = _with_cors(Headers(scope=scope).get("origin"), send)
            if scope["method"] == "OPTIONS":
                await PlainTextResponse("", headers=_PREFLIGHT)(scope, receive, send)
                return
        query = parse_qs(scope["query_string"].decode("latin-1"))
        sid = query.get("sid", [""])[0]
        new: SocketEngine = state["engine4"]
        old: SocketEngine = state["engine3"]
        is_new = new.knows(sid) if sid else query.get("EIO", ["3"])[0] == "4"
        engine_scope = {**scope}
        # In place, so that no log of the server shows a connection's id.
        scope["query_string"] = b""
        await (new if is_new else old)(engine_scope, receive, send)


class _Route:
    """What metrics call this path."""

    path = "/socket.io/"


_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "content-type",
    "Access-Control-Max-Age": "600",
}


def _with_cors(origin: str | None, send: Send) -> Send:
    """Let a page of an allowed origin read the answers; its client always sends credentials."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Cache-Control"] = "no-store"
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Allow-Credentials"] = "true"
                headers["Vary"] = "Origin"
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = PlainTextResponse("This origin may not call.", 403)
    await answer(scope, receive, send)
