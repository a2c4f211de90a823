"""What every view of the old API did around its own work, in the old order.

Preflight, then the choice of a rendering, authentication, permission, method, and only then the
body: so a bad token is 401 even on sign-up, and a wrong verb is 401 for a stranger (Q1, Q2).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.chexray.compat.negotiation import (
    HTML_TYPE,
    JSON_TYPE,
    NotAcceptable,
    Rendering,
    UnknownFormat,
    choose,
)
from services.chexray.compat.parsing import (
    FORM,
    JSON,
    MULTIPART,
    ParseError,
    UnsupportedMediaType,
    read_body,
)
from shared.assertions import Caller, Refusal
from shared.problems import Problem, TooManyRequests

log = structlog.get_logger(__name__)

#: The published front end and its two development servers.
OLD_FRONT_ENDS = frozenset(
    {"https://perxeptron.github.io", "http://localhost:4200", "http://localhost:3000"}
)
_LOCALHOST = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Headers": (
        "accept, accept-encoding, authorization, content-type, dnt, origin, user-agent, "
        "x-csrftoken, x-requested-with"
    ),
    "Access-Control-Allow-Methods": "DELETE, GET, OPTIONS, PATCH, POST, PUT",
    "Access-Control-Max-Age": "86400",
}

NO_CREDENTIALS = "Authentication credentials were not provided."
NO_PERMISSION = "You do not have permission to perform this action."
_REFUSALS: Mapping[Refusal, str] = {
    Refusal.NO_CREDENTIALS: "Invalid token header. No credentials provided.",
    Refusal.SPACES: "Invalid token header. Token string should not contain spaces.",
    Refusal.CHARACTERS: (
        "Invalid token header. Token string should not contain invalid characters."
    ),
    Refusal.INVALID: "Invalid token.",
    Refusal.EXPIRED: "Invalid token.",
    Refusal.REVOKED: "Invalid token.",
    Refusal.INACTIVE: "User inactive or deleted.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body; without a body there is no `Content-Type` either."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True)
class View:
    """One path of the old API: an ASGI application for all methods and both slash forms."""

    name: str
    method: str
    work: Work
    description: str = ""
    scope: str | None = None
    """What the caller must hold; None where anybody may come."""
    renders: tuple[str, ...] = (JSON_TYPE, HTML_TYPE)
    parses: tuple[str, ...] = (JSON, FORM, MULTIPART)
    actions: Mapping[str, Any] | None = None
    """The fields that `OPTIONS` describes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer any method."""
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Answer as the old server did."""
        cors = cors_headers(request)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(
                headers={"Content-Type": "text/html; charset=utf-8", "Vary": "Origin", **cors}
            )
        rendering = Rendering()
        try:
            rendering = choose(
                request.headers.get("accept", "*/*"),
                request.query_params.get("format", ""),
                self.renders,
            )
            answer = await self._answer(request)
        except UnknownFormat:
            answer = Answer(404, {"detail": "Not found."})
        except NotAcceptable:
            answer = Answer(406, {"detail": "Could not satisfy the request Accept header."})
        except UnsupportedMediaType as error:
            answer = Answer(415, {"detail": f'Unsupported media type "{error}" in request.'})
        except ParseError as error:
            answer = Answer(400, {"detail": str(error)})
        except Problem as problem:
            answer = _from_problem(problem)
        return self._write(answer, rendering, cors)

    async def _answer(self, request: Request) -> Answer:
        caller: Caller = request.state.caller
        if caller.refusal is not None:
            return _unauthenticated(_REFUSALS[caller.refusal])
        if self.scope is not None:
            if caller.kind == "anonymous":
                return _unauthenticated(NO_CREDENTIALS)
            if self.scope not in caller.scopes:
                return Answer(403, {"detail": NO_PERMISSION})
        if request.method == "OPTIONS":
            return Answer(200, self._metadata())
        if request.method != self.method:
            return Answer(405, {"detail": f'Method "{request.method}" not allowed.'})
        return await self.work(request)

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "renders": list(self.renders),
            "parses": list(self.parses),
        }
        if self.actions is not None:
            metadata["actions"] = {self.method: self.actions}
        return metadata

    def _write(self, answer: Answer, rendering: Rendering, cors: Mapping[str, str]) -> Response:
        headers = {
            "Allow": f"{self.method}, OPTIONS",
            "Vary": "Accept, Origin",
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            **cors,
            **answer.headers,
        }
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        if rendering.media_type == HTML_TYPE:
            headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        headers["Content-Type"] = rendering.content_type
        return Response(rendering.write(answer.body, self.name), answer.status, headers)


def cors_headers(request: Request) -> dict[str, str]:
    """What lets a page of an allowed origin read the answer."""
    origin = request.headers.get("origin")
    if origin is None:
        return {}
    is_allowed = (
        origin in OLD_FRONT_ENDS
        or origin in request.state.allowed_origins
        or _LOCALHOST.fullmatch(origin) is not None
    )
    if not is_allowed:
        return {}
    headers = {"Access-Control-Allow-Origin": origin}
    return headers | _PREFLIGHT_HEADERS if request.method == "OPTIONS" else headers


async def body_of(request: Request) -> Any:
    """What the client sent, as `parsing` reads it."""
    return await read_body(request, request.state.max_upload_bytes)


def _unauthenticated(detail: str) -> Answer:
    return Answer(401, {"detail": detail}, {"WWW-Authenticate": "Token"})


def _from_problem(problem: Problem) -> Answer:
    """Today's refusals that the old server did not know, in its own style (Q20)."""
    log.info("old_wire_refused", problem=problem.slug)
    if isinstance(problem, TooManyRequests):
        after = problem.headers.get("Retry-After", "1")
        seconds = f"{after} second{'' if after == '1' else 's'}"
        detail = f"Request was throttled. Expected available in {seconds}."
        return Answer(429, {"detail": detail}, problem.headers)
    return Answer(problem.status, {"detail": problem.detail}, problem.headers)
