"""A gateway on a real socket before a service that remembers what it was asked."""

import contextlib
import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.app import create_app, open_gateway
from gateway.drain import Drain, create_server
from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.route import DEFAULT_RATE, MODERN, Accepted, Rate, Route
from gateway.settings import MB, GatewaySettings
from shared.assertions import GATEWAY, AssertionVerifier, Caller, Refusal
from shared.keys import ensure_keys, read_key
from shared.loglines import LogLines
from shared.revocations import Revocation
from shared.settings import SERVICES
from shared.tokens import Claims, TokenType, mint, public_jwk

KEY_ID = "test-key"

#: Rows that exercise what no service uses, beside the real table.
ROWS = (
    Route(
        "/open/**", "chexray", max_body_bytes=1 * MB, deadline_s=1, rate=Rate("wide", 100_000, 1)
    ),
    Route("/tight/**", "chexray", max_body_bytes=64, rate=Rate("tight", 3, 60, by="address")),
    Route("/query/{x}", "chexray", frozenset({Accepted.QUERY}), legacy_audience="chexray"),
    Route("/basic/{x}", "chexray", frozenset({Accepted.BASIC}), needs_credential=True),
    Route("/socket/{x}", "chexray", MODERN, needs_credential=True, websocket=True),
    Route("/open-socket/{x}", "chexray", websocket=True, rate=DEFAULT_RATE),
)


@cache
def private_key() -> RSAPrivateKey:
    """The key that signs every token of these tests."""
    return generate_private_key(public_exponent=65_537, key_size=2048)


def access_claims(**changes: Any) -> Claims:
    """Claims of a clinician's access token."""
    now = int(time.time())
    claims = Claims(
        type=TokenType.ACCESS,
        issuer="vedette",
        subject="0190-user",
        audience="vedette",
        issued_at=now,
        expires_at=now + 600,
        token_id="token-1",
        kind="user",
        scopes=frozenset({"chexray:read", "chexray:write"}),
        username="ada",
        roles=("clinician",),
        session_id="session-1",
    )
    return replace(claims, **changes)


def access_token(**changes: Any) -> str:
    """An access token, with `changes` to its claims."""
    return mint(access_claims(**changes), private_key(), KEY_ID)


def legacy_token(**changes: Any) -> str:
    """A token of the old chest X-ray API."""
    return access_token(**{"type": TokenType.LEGACY, "audience": "chexray", **changes})


@dataclass
class StubRevocations:
    """Knows what is revoked because a test said so."""

    is_fresh: bool = True
    revoked: dict[str, Refusal] = field(default_factory=dict)
    callbacks: list[Callable[[Revocation], None]] = field(default_factory=list)
    key_callbacks: list[Callable[[], None]] = field(default_factory=list)

    def refusal(self, claims: Claims) -> Refusal | None:
        """What was said about the token."""
        return self.revoked.get(claims.token_id)

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Remember whom to tell."""
        self.callbacks.append(callback)

    def on_keys_changed(self, callback: Callable[[], None]) -> None:
        """Remember whom to tell."""
        self.key_callbacks.append(callback)


@dataclass
class Asked:
    """One request as the service saw it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[str, str]]
    body: bytes = b""
    ended: str = ""

    def all(self, name: str) -> list[str]:
        """Every value of the header `name`."""
        return [value for key, value in self.headers if key == name]


@dataclass
class StubService:
    """Answers for auth and for every other service, and remembers each request."""

    asked: list[Asked] = field(default_factory=list)
    jwks_fetches: int = 0
    introspections: int = 0
    extra: dict[str, Callable[[Asked, Receive, Send], Any]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await run_lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            self.asked.append(_asked(scope, "GET"))
            await _echo(scope, receive, send)
            return
        asked = _asked(scope, scope["method"])
        if scope["path"] == "/.well-known/jwks.json":
            self.jwks_fetches += 1
            document = {"keys": [public_jwk(private_key().public_key(), KEY_ID)]}
            await answer(send, json.dumps(document).encode())
        elif scope["path"] in ("/livez", "/readyz"):
            await answer(send, b'{"status":"ready","checks":{}}')
        elif scope["path"] == "/internal/introspect":
            self.introspections += 1
            await self._introspect(receive, send)
        else:
            self.asked.append(asked)
            handler = self.extra.get(scope["path"])
            if handler is not None:
                await handler(asked, receive, send)
                return
            asked.body = await read(receive, asked)
            await answer(send, b"hello from the service")

    async def _introspect(self, receive: Receive, send: Send) -> None:
        question = json.loads(await read(receive, None))
        if question["credential"] in ("vdt_good", "YWRhOmdvb2Q="):
            found = {
                "subject": "0190-user", "kind": "user", "username": "ada", "roles": ["clinician"],
                "scopes": ["chexray:read"], "token_id": "key-1", "session_id": None,
                "expires_at": None,
            }  # fmt: skip
            await answer(send, json.dumps(found).encode())
        else:
            await answer(send, b"{}", status=401)


def _asked(scope: Scope, method: str) -> Asked:
    headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    return Asked(method, scope["path"], scope["raw_path"], scope["query_string"], headers)


async def read(receive: Receive, asked: Asked | None) -> bytes:
    """The whole body, noting how it ended."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            if asked is not None:
                asked.ended = "disconnected"
            return body
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            if asked is not None:
                asked.ended = "whole"
            return body


async def answer(send: Send, body: bytes, *, status: int = 200, headers: Any = ()) -> None:
    """Answer in one part."""
    pairs = [(b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def run_lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"].endswith("/refused"):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept", "subprotocol": None})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "asked to"})
            return
        await send({**message, "type": "websocket.send"})


@contextlib.contextmanager
def served(server: uvicorn.Server, listening: socket.socket) -> Iterator[uvicorn.Server]:
    """Run `server` in a thread while the block lasts."""
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(10)


def listen() -> socket.socket:
    """A listening socket on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.set_inheritable(False)
    return listening


def serve_stub(app: ASGIApp, listening: socket.socket) -> contextlib.AbstractContextManager[Any]:
    """Run a stub service."""
    config = uvicorn.Config(
        app, http="httptools", log_config=None, access_log=False, timeout_graceful_shutdown=1,
        timeout_keep_alive=75, ws="websockets-sansio",
    )  # fmt: skip
    return served(uvicorn.Server(config), listening)


@dataclass
class Rig:
    """A running gateway, the service behind it, and what a test may turn."""

    port: int
    service: StubService
    service_port: int
    revocations: StubRevocations
    settings: GatewaySettings
    drain: Drain
    server: uvicorn.Server

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.port}"

    def wait_for_keys(self) -> None:
        """Return when the gateway can check tokens."""
        until = time.monotonic() + 10
        while not self.get("/readyz").json()["services"]["gateway"]["ready"]:
            assert time.monotonic() < until
            time.sleep(0.005)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET `path`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST to `path`."""
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        token = options.pop("token", None)
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        with httpx.Client(base_url=self.url, trust_env=False, timeout=10) as client:
            return client.request(method, path, headers=headers, **options)

    @property
    def last(self) -> Asked:
        """The newest request that reached the service."""
        return self.service.asked[-1]

    def caller(self, asked: Asked, service: str = "chexray") -> Caller:
        """Who the gateway said was calling, believed only with its key."""
        key = read_key(self.settings.keys_folder, f"assertion-{service}")
        (assertion,) = asked.all("vedette-assertion")
        return AssertionVerifier(service, {GATEWAY: key}).verify(assertion)

    def connect(self) -> socket.socket:
        """A raw connection to the gateway."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(10)
        return connection

    def exchange(self, request: bytes) -> bytes:
        """Everything that the gateway answers to raw bytes until it closes or is quiet."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(request)
            return receive_all(connection)


def receive_all(connection: socket.socket, quiet_s: float = 0.3) -> bytes:
    """What comes until the other side closes, or is quiet after something came."""
    received = b""
    with contextlib.suppress(OSError):
        while True:
            connection.settimeout(quiet_s if received else 10)
            part = connection.recv(65_536)
            if not part:
                break
            received += part
    return received


def status_of(answer_bytes: bytes) -> int:
    """The status in the first line of a raw answer; 0 without one."""
    return int(answer_bytes.split(b" ", 2)[1]) if answer_bytes.startswith(b"HTTP/1.1 ") else 0


class _StandardOutput(io.StringIO):
    """Whatever standard output is when a line is written; pytest changes it for each test."""

    def write(self, text: str) -> int:
        """Pass on."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Pass on."""
        sys.stdout.flush()


@contextlib.contextmanager
def _log_lines() -> Iterator[None]:
    """Write the lines about requests, as the gateway's own process does."""
    root, handler = logging.getLogger(), LogLines(_StandardOutput())
    # The client of these tests is in this process too, and tells of every request.
    handler.addFilter(lambda _: False)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        handler.flush()
        root.removeHandler(handler)
        root.setLevel(level)


@contextlib.contextmanager
def rig(folder: Path, service: ASGIApp | None = None, **settings: Any) -> Iterator[Rig]:
    """A gateway with small limits where a test waits for them."""
    ensure_keys(folder)
    private_key()
    stub = StubService()
    revocations = StubRevocations()
    drain = Drain()
    listening, service_listening = listen(), listen()
    port, service_port = listening.getsockname()[1], service_listening.getsockname()[1]
    service_url = f"http://127.0.0.1:{service_port}"
    configured = GatewaySettings(
        **{
            "port": port,
            "keys_dir": folder,
            **{f"{service}_url": service_url for service in SERVICES},
            "log_level": "info",
            "gateway_drain_s": 0,
            "stop_grace_s": 1,
            **settings,
        }
    )
    policy = Policy((*TABLE, *ROWS))

    def lifespan(_: Starlette) -> Any:
        return open_gateway(configured, drain, policy, revocations)

    server = create_server(create_app(lifespan), configured, drain)
    with (
        _log_lines(),
        serve_stub(service or stub, service_listening),
        served(server, listening),
    ):
        running = Rig(port, stub, service_port, revocations, configured, drain, server)
        running.wait_for_keys()
        yield running


@dataclass
class RawService:
    """Answers every connection with the bytes it was given, and keeps what it was sent."""

    replies: list[bytes]
    """One for each connection, in their order; the last one also for all that follow."""
    port: int = 0
    received: list[bytes] = field(default_factory=list)

    def reply_to(self, connection: socket.socket) -> None:
        """Read one request's head, write the reply, close."""
        with connection:
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65_536)
                if not part:
                    return
                head += part
            if head.startswith((b"GET /readyz", b"GET /livez")):
                return
            self.received.append(head)
            connection.sendall(self.replies[min(len(self.received), len(self.replies)) - 1])


@contextlib.contextmanager
def raw_service(*replies: bytes) -> Iterator[RawService]:
    """A service that does not speak HTTP properly."""
    listening = listen()
    service = RawService(list(replies), listening.getsockname()[1])

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError):
                    service.reply_to(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
