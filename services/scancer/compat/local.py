"""TorchServe's ports 8081 and 8082: the management API and the metrics, on loopback alone.

Like there, nobody has to say who they are. So that no web page can speak for the person before
the screen, a request must name a loopback host and must not come from another origin.
"""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import httpx
import structlog
import uvicorn
from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.scancer.compat import management
from services.scancer.compat.description import describe_management
from services.scancer.compat.wording import OldRoute, ResourceNotFound, pretty, refusal
from services.scancer.dependencies import ADMIN, READ, require
from shared.assertions import HEADER, AssertionSigner, Caller
from shared.connections import LeanProtocol
from shared.problems import Forbidden, Unavailable, install_problem_handlers
from shared.server import EagerServer
from shared.telemetry import TelemetryMiddleware

log = structlog.get_logger(__name__)

ADDRESS: Final = "127.0.0.1"
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: The service has used its own time to stop already when these ports are closed.
_STOP_S: Final = 1
_NOBODY: Final = Caller(subject="anonymous", kind="anonymous")
#: Whoever reaches the loopback port while it asks for no credential.
LOCAL_ADMINISTRATOR: Final = Caller(
    subject="loopback", kind="service", scopes=frozenset({READ, ADMIN})
)


class Doorkeeper(Protocol):
    """Says who calls on a loopback port."""

    async def find(self, authorization: str | None) -> Caller:
        """The caller behind an `Authorization` header."""
        ...


class OpenDoor:
    """Lets everybody on this machine in, as TorchServe does."""

    async def find(self, authorization: str | None) -> Caller:
        """See `Doorkeeper`."""
        return LOCAL_ADMINISTRATOR


class PasswordDoor:
    """Asks auth about the name and the password."""

    def __init__(self, client: httpx.AsyncClient, signer: AssertionSigner) -> None:
        self._client = client
        self._signer = signer

    async def find(self, authorization: str | None) -> Caller:
        """See `Doorkeeper`; nobody where the credential is not good."""
        scheme, _, credential = (authorization or "").partition(" ")
        if scheme.lower() != "basic" or not _is_base64(credential):
            return _NOBODY
        question = {"scheme": "basic", "credential": credential.strip(), "address": ADDRESS}
        assertion = self._signer.sign(Caller(subject="scancer", kind="service"), "auth")
        try:
            answer = await self._client.post(
                "/internal/introspect", json=question, headers={HEADER: assertion}
            )
        except httpx.TransportError as error:
            raise Unavailable("Passwords cannot be checked at the moment.") from error
        if answer.status_code != 200:
            return _NOBODY
        found = json.loads(answer.content)
        return Caller(
            subject=found["subject"],
            kind=found["kind"],
            username=found.get("username"),
            roles=tuple(found["roles"]),
            scopes=frozenset(found["scopes"]),
            credential="basic",
        )


class LocalDoor:
    """Lets requests of this machine's own programs in, with the state of the service."""

    def __init__(self, app: ASGIApp, state: Mapping[str, Any], doorkeeper: Doorkeeper) -> None:
        self._app = app
        self._state = state
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and pass on."""
        if scope["type"] != "http":
            return
        # Kept by the telemetry around this: the request's id.
        scope["state"] = {**self._state, **scope.get("state", {})}
        headers = Headers(scope=scope)
        request = Request(scope, receive)
        if not _is_local(headers):
            refused = Forbidden("This port answers programs on this machine, under its name.")
            await refusal(request, refused)(scope, receive, send)
            return
        try:
            scope["state"]["caller"] = await self._doorkeeper.find(headers.get("authorization"))
        except Unavailable as away:
            await refusal(request, away)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_local(headers: Headers) -> bool:
    """Whether a program sent this, and not a page that somebody looks at (CSRF, DNS rebinding)."""
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    site = headers.get("sec-fetch-site", "none")
    return name.lower() in _HOSTS and "origin" not in headers and site in ("none", "same-origin")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return False
    return bool(text.strip())


def create_management_app() -> FastAPI:
    """The management API alone."""
    app = FastAPI(title="scancer management", docs_url=None, redoc_url=None, openapi_url=None)
    install_problem_handlers(app)
    app.router.route_class = OldRoute

    async def describe(request: Request) -> Response:
        require(request, READ)
        return pretty(describe_management())

    async def unknown(request: Request) -> Response:
        raise ResourceNotFound

    app.router.add_api_route("/", describe, methods=["OPTIONS"], response_model=None)
    app.router.add_api_route("/api-description", describe, methods=["GET"], response_model=None)
    app.include_router(management.router)
    app.router.add_api_route(
        "/{rest:path}",
        unknown,
        methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        response_model=None,
    )
    return app


def create_metrics_app(page: Callable[[list[str]], str]) -> FastAPI:
    """The metrics alone; `?name[]=` chooses among TorchServe's."""
    app = FastAPI(title="scancer metrics", docs_url=None, redoc_url=None, openapi_url=None)
    install_problem_handlers(app)
    app.router.route_class = OldRoute

    async def metrics(request: Request) -> Response:
        require(request, READ)
        text = page(request.query_params.getlist("name[]"))
        return Response(text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app.router.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)
    app.router.add_api_route("/metrics/", metrics, methods=["GET"], response_model=None)
    return app


class _QuietServer(EagerServer):
    """A second server in a process whose signals belong to the first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def listening(
    app: FastAPI, port: int, state: Mapping[str, Any], doorkeeper: Doorkeeper
) -> AsyncIterator[None]:
    """Serve `app` on a loopback port while the block runs.

    Where the port is taken, by another replica on this machine perhaps, the service goes on
    without it and says so.
    """
    # TelemetryMiddleware is the outermost one: a bug anywhere inside is answered and logged.
    door = TelemetryMiddleware(LocalDoor(app, state, doorkeeper), "scancer")
    config = uvicorn.Config(
        door,
        http=LeanProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_S,
    )
    try:
        # From here on connections are taken; the server answers them in a moment.
        listener = socket.create_server((ADDRESS, port), backlog=config.backlog)
    except OSError as error:
        log.error("loopback_port_taken", port=port, error=str(error))
        yield
        return
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("loopback_port_opened", port=port, app=app.title)
    try:
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()
