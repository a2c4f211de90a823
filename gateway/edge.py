"""The edge: every request passes here, in the order in which it is told below."""

import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.addresses import Addresses
from gateway.bounded import BoundedMap
from gateway.counters import LIMITED, REFUSED_CREDENTIALS
from gateway.credentials import Doorman, Verified, without_query_token
from gateway.errors import (
    ContentTooLarge,
    OriginRefused,
    QuotaExceeded,
    RefusedRequest,
    UnsupportedEncoding,
)
from gateway.forward import CLIENT_LEFT, Forwarder, Passage
from gateway.headers import HeaderPair, RequestHeaders, request_id_in, trace_of
from gateway.hosts import HostPolicy
from gateway.introspection import CredentialRefused
from gateway.matching import Policy
from gateway.origins import OriginPolicy
from gateway.paths import check_query, read_path
from gateway.rates import RateLimits, address_key
from gateway.replicas import Replicas
from gateway.route import DEFAULT_RATE, READS, Accepted, Route
from gateway.websocket import WebSocketForwarder, WebSocketRequest
from shared.accesslog import AccessLog
from shared.assertions import ANONYMOUS, Refusal
from shared.problems import Forbidden, Problem, ProblemResponse, Unauthenticated

log = structlog.get_logger(__name__)

_MAX_REMEMBERED_PATH: Final = 200
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_VARY_ORIGIN: Final = (b"vary", b"Origin")
_REFUSAL_DETAILS: Final[Mapping[Refusal, str]] = {
    Refusal.EXPIRED: "The credential has expired.",
    Refusal.REVOKED: "The credential was revoked.",
    Refusal.INACTIVE: "The account is not active.",
}


class Edge:
    """Checks a request against the policy and hands it on (plain ASGI, no framework)."""

    def __init__(
        self,
        *,
        policy: Policy,
        hosts: HostPolicy,
        addresses: Addresses,
        origins: OriginPolicy,
        doorman: Doorman,
        limits: RateLimits,
        replicas: Mapping[str, Replicas],
        forwarder: Forwarder,
        websockets: WebSocketForwarder,
        access_log: AccessLog,
    ) -> None:
        self.access_log = access_log
        self._policy = policy
        self._hosts = hosts
        self._addresses = addresses
        self._origins = origins
        self._doorman = doorman
        self._limits = limits
        self._replicas = replicas
        self._forwarder = forwarder
        self._websockets = websockets
        self._routes: BoundedMap[bytes, Route] = BoundedMap(4096)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, pages: ASGIApp) -> None:
        """Answer one request, or carry one WebSocket; `pages` are the gateway's own."""
        passage = Passage(scope.get("method", "GET"), time.perf_counter())
        try:
            if scope["type"] == "websocket":
                await self._open_websocket(passage, scope, receive, send)
            else:
                await self._handle(passage, scope, receive, send, pages)
        except Problem as problem:
            await self._refuse(passage, problem, scope, send)
        except Exception as error:
            # The last place that can turn a bug into an answer; nothing of it reaches the client.
            log.error("request_failed", exc_info=error, request_id=passage.request_id)
            if passage.status:
                raise
            bug = Problem("Something went wrong here; the request id finds it in the log.")
            await self._refuse(passage, bug, scope, send)
        finally:
            self.access_log.record(
                method=passage.method,
                route=passage.route.path if passage.route is not None else "",
                status=passage.status or CLIENT_LEFT,
                seconds=time.perf_counter() - passage.started_s,
                now=time.time(),
                request_id=passage.request_id,
                caller=passage.caller,
            )

    async def _handle(
        self, passage: Passage, scope: Scope, receive: Receive, send: Send, pages: ASGIApp
    ) -> None:
        headers, trace = self._read(passage, scope)
        passage.address = self._addresses.find(scope["client"], scope["headers"])
        address = address_key(passage.address)
        route = self._find_route(passage, scope, headers, address)
        if passage.method == "OPTIONS" and route.refused_by == "gateway":
            self._limit(passage, route, address)
            await self._answer_options(passage, route, scope, headers, send)
            return
        now = time.time()
        verified = await self._find_caller(passage, scope, headers, route, address, now)
        query = scope["query_string"]
        if query and Accepted.QUERY in route.accepts:
            # In place, so that no log of the server shows it either.
            query = scope["query_string"] = without_query_token(query)
        if b"origin" in headers.read and route.refused_by == "gateway":
            passage.answer_headers += self._cors_headers(scope, headers)
        _check_body(route, headers)
        if route.service == "gateway":
            await self._show_page(passage, verified, scope, receive, send, pages)
            return
        head = self._head(passage, scope, headers, verified, trace, query, now)
        upstream = self._replicas[route.service].choose(route, query)
        await self._forwarder.forward(passage, upstream, head, headers, receive, send)

    # The steps, in their order.

    def _read(self, passage: Passage, scope: Scope) -> tuple[RequestHeaders, list[bytes]]:
        """The headers, once they are coherent and the host is ours."""
        try:
            headers = RequestHeaders(scope["headers"])
            request_id, trace = trace_of(headers)
        except RefusedRequest:
            _name(passage, scope, request_id_in(scope["headers"]))
            raise
        _name(passage, scope, request_id)
        host = headers.read.get(b"host")
        if host is None:
            raise RefusedRequest("There is no Host header.")
        self._hosts.check(host)
        check_query(scope["query_string"])
        return headers, trace

    def _find_route(
        self, passage: Passage, scope: Scope, headers: RequestHeaders, address: str
    ) -> Route:
        """The policy's row, or a refusal that is counted like any request."""
        raw_path = scope["raw_path"]
        route = self._routes.get(raw_path)
        try:
            if route is None:
                route = self._policy.find(read_path(raw_path))
                if len(raw_path) <= _MAX_REMEMBERED_PATH:
                    self._routes.put(raw_path, route)
            self._policy.check_method(route, passage.method)
        except Problem:
            self._limit(passage, None, address)
            passage.route = route
            raise
        passage.route = route
        return route

    async def _find_caller(
        self,
        passage: Passage,
        scope: Scope,
        headers: RequestHeaders,
        route: Route,
        address: str,
        now: float,
    ) -> Verified:
        """Who calls, within its rate and its scopes."""
        authorization = headers.read.get(b"authorization")
        verified = None
        if authorization is not None:
            verified = self._doorman.remembered(route, authorization, now)
        try:
            verified = verified or await self._doorman.find(
                route, authorization, scope["query_string"], address, now
            )
        except CredentialRefused as refused:
            REFUSED_CREDENTIALS.labels(refused.reason.value).inc()
            self._limit(passage, route, address)
            if route.refused_by == "gateway":
                raise _unauthenticated(refused.reason) from refused
            return self._doorman.nobody(refused.reason)
        if verified.caller is ANONYMOUS:
            self._limit(passage, route, address)
            if route.needs_credential:
                raise _unauthenticated(None)
            return verified
        passage.caller = verified.caller.subject
        passage.is_private = True
        self._limit(passage, route, address, verified.rate_key)
        if route.refused_by == "gateway":
            needed = route.scopes.get(passage.method)
            if needed is not None and needed not in verified.caller.scopes:
                raise Forbidden(f"This needs the scope {needed}.")
        return verified

    def _limit(
        self, passage: Passage, route: Route | None, address: str, subject: str | None = None
    ) -> None:
        """Count the request; `RateLimit` headers go on whatever is answered."""
        rate = DEFAULT_RATE
        if route is not None:
            rate = route.rate
            if route.write_rate is not None and passage.method not in READS:
                rate = route.write_rate
        limiter = self._limits.limiter(rate)
        if limiter is None:
            return
        caller = subject if subject is not None and rate.by == "subject" else address
        verdict = limiter.take(caller, passage.started_s)
        passage.rate_headers = (limiter.policy_header, limiter.header(verdict))
        if not verdict.allowed:
            LIMITED.labels(rate.name).inc()
            raise QuotaExceeded(rate.name, retry_after_s=verdict.retry_after_s)

    def _head(
        self,
        passage: Passage,
        scope: Scope,
        headers: RequestHeaders,
        verified: Verified,
        trace: list[bytes],
        query: bytes,
        now: float,
    ) -> bytes:
        """The request as the service gets to see it, without its body."""
        assert passage.route is not None
        service = passage.route.service
        parts = [passage.method.encode(), b" ", scope["raw_path"]]
        if query:
            parts += (b"?", query)
        parts += (b" HTTP/1.1\r\nhost: ", headers.read[b"host"], b"\r\n")
        parts += headers.lines
        parts += trace
        parts += (
            b"vedette-assertion: ",
            self._doorman.assertion(verified, service, now),
            b"\r\nvedette-client-address: ",
            passage.address.encode(),
        )
        length = headers.read.get(b"content-length")
        if length is not None:
            parts += (b"\r\ncontent-length: ", length, b"\r\n\r\n")
        elif b"transfer-encoding" in headers.read:
            parts.append(b"\r\ntransfer-encoding: chunked\r\n\r\n")
        else:
            parts.append(b"\r\n\r\n")
        return b"".join(parts)

    async def _show_page(
        self,
        passage: Passage,
        verified: Verified,
        scope: Scope,
        receive: Receive,
        send: Send,
        pages: ASGIApp,
    ) -> None:
        scope["state"]["caller"] = verified.caller

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *passage.answer_headers,
                    *passage.rate_headers,
                    _NOSNIFF,
                ]
            await send(message)

        await pages(scope, receive, send_with_headers)

    async def _answer_options(
        self, passage: Passage, route: Route, scope: Scope, headers: RequestHeaders, send: Send
    ) -> None:
        """Answer a preflight of an allowed origin, and any other OPTIONS with `Allow`."""
        passage.status = 204
        answer: list[HeaderPair] = [(b"allow", route.allow.encode()), _VARY_ORIGIN]
        origin = headers.read.get(b"origin")
        if origin is not None and self._is_allowed(origin, scope, headers):
            answer += self._origins.preflight_headers(origin, route.allow)
        answer += (*passage.answer_headers, *passage.rate_headers)
        await send({"type": "http.response.start", "status": 204, "headers": answer})
        await send({"type": "http.response.body", "body": b""})

    def _is_allowed(self, origin: bytes, scope: Scope, headers: RequestHeaders) -> bool:
        return self._origins.allows(origin, scope["scheme"], headers.read[b"host"])

    def _cors_headers(self, scope: Scope, headers: RequestHeaders) -> list[HeaderPair]:
        origin = headers.read[b"origin"]
        if self._is_allowed(origin, scope, headers):
            return [*self._origins.answer_headers(origin), _VARY_ORIGIN]
        return [_VARY_ORIGIN]

    # WebSockets and refusals.

    async def _open_websocket(
        self, passage: Passage, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers, trace = self._read(passage, scope)
        passage.address = self._addresses.find(scope["client"], scope["headers"])
        address = address_key(passage.address)
        route = self._find_route(passage, scope, headers, address)
        if not route.websocket:
            raise RefusedRequest("There is no WebSocket at this address.")
        origin = headers.read.get(b"origin")
        scheme = "https" if scope["scheme"] == "wss" else "http"
        if origin is not None and not self._origins.allows(origin, scheme, headers.read[b"host"]):
            raise OriginRefused("Pages of this origin may not open a WebSocket here.")
        now = time.time()
        verified = await self._find_caller(passage, scope, headers, route, address, now)
        query, scope["query_string"] = scope["query_string"], b""
        assert route.service != "gateway"
        passage.status = 101
        await self._websockets.carry(
            WebSocketRequest(
                route=route,
                upstream=self._replicas[route.service].choose(route, query),
                verified=verified,
                target=_target(scope["raw_path"], without_query_token(query)),
                headers=self._websocket_headers(passage, headers, trace, verified, now),
                subprotocols=scope.get("subprotocols", []),
                authorization=headers.read.get(b"authorization"),
                query=query,
                address=address,
            ),
            [*passage.answer_headers, *passage.rate_headers],
            receive,
            send,
        )

    def _websocket_headers(
        self,
        passage: Passage,
        headers: RequestHeaders,
        trace: list[bytes],
        verified: Verified,
        now: float,
    ) -> list[HeaderPair]:
        assert passage.route is not None
        lines = b"".join((*headers.lines, *trace)).split(b"\r\n")[:-1]
        pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        assertion = self._doorman.assertion(verified, passage.route.service, now)
        return [
            *pairs,
            (b"vedette-assertion", assertion),
            (b"vedette-client-address", passage.address.encode()),
        ]

    async def _refuse(self, passage: Passage, problem: Problem, scope: Scope, send: Send) -> None:
        """Answer with a problem, unless an answer has begun."""
        if passage.status and scope["type"] == "http":
            return
        passage.status = problem.status
        response = _worded(problem, passage)
        headers = list(response.raw_headers)
        headers += (*passage.answer_headers, *passage.rate_headers, _NOSNIFF)
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        is_told = any(name == b"access-control-allow-origin" for name, _ in headers)
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if (
            origin is not None
            and not is_told
            and self._origins.allows(origin, scope["scheme"], host)
        ):
            headers += (*self._origins.answer_headers(origin), _VARY_ORIGIN)
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        await send({"type": f"{kind}.start", "status": problem.status, "headers": headers})
        body = b"" if passage.method == "HEAD" else bytes(response.body)
        await send({"type": f"{kind}.body", "body": body})


def _name(passage: Passage, scope: Scope, request_id: str) -> None:
    """Give the request its id, which its answer, its service and the protocol get to see."""
    passage.request_id = scope["state"]["request_id"] = request_id
    passage.answer_headers.append((b"x-request-id", request_id.encode()))


def _worded(problem: Problem, passage: Passage) -> Response:
    """The answer that tells a problem, in an old API's words where its row has any for it."""
    route = passage.route
    if route is not None and route.throttled is not None and isinstance(problem, QuotaExceeded):
        body = route.throttled(int(problem.headers["Retry-After"]))
    elif route is not None and route.refused is not None:
        body = route.refused(problem.status)
    else:
        return ProblemResponse(problem, passage.request_id or None)
    headers = {**problem.headers, "Cache-Control": "no-store"}
    if not body:
        return Response(status_code=problem.status, headers=headers)
    return JSONResponse(body, status_code=problem.status, headers=headers)


def _unauthenticated(refusal: Refusal | None) -> Unauthenticated:
    if refusal is None:
        return Unauthenticated(
            "This needs a credential.", headers={"WWW-Authenticate": 'Bearer realm="vedette"'}
        )
    return Unauthenticated(
        _REFUSAL_DETAILS.get(refusal, "The credential is not accepted."),
        headers={"WWW-Authenticate": 'Bearer realm="vedette", error="invalid_token"'},
    )


def _check_body(route: Route, headers: RequestHeaders) -> None:
    """Refuse by its headers what would be refused after reading it."""
    length = headers.body_length()
    if length == 0:
        return
    if length is not None and length > route.max_body_bytes:
        raise ContentTooLarge(f"The limit here is {route.max_body_bytes} bytes.")
    coding = headers.read.get(b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise UnsupportedEncoding("Send the body as it is, not compressed.")


def _target(raw_path: bytes, query: bytes) -> str:
    return (raw_path + b"?" + query if query else raw_path).decode("ascii")
