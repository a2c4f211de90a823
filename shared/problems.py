"""Errors as clients see them: `application/problem+json`, RFC 9457.

This is the only place where an exception becomes a response.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Problem(Exception):
    """An expected failure that the client is told about.

    A subclass names one kind of failure by `status`, `slug` and a `title` that never varies;
    an instance adds the `detail` of this occurrence and members that a program can read.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extensions = extensions


class InvalidRequest(Problem):
    """The request does not have the form that this operation needs."""

    status, slug, title = 422, "invalid-request", "Invalid request"


class Unauthenticated(Problem):
    """No credential, or one that is not accepted."""

    status, slug, title = 401, "unauthenticated", "Authentication needed"


class Forbidden(Problem):
    """The caller is known and may not do this."""

    status, slug, title = 403, "forbidden", "Not allowed"


class NotFound(Problem):
    """Nothing is here, or the caller may not see it."""

    status, slug, title = 404, "not-found", "Not found"


class TooManyRequests(Problem):
    """A rate limit is reached; `Retry-After` says when to come back."""

    status, slug, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after_s)))})


class Unavailable(Problem):
    """Something this operation needs is away for the moment."""

    status, slug, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after_s)))})


_STATUS_SLUGS: Mapping[int, tuple[str, str]] = {
    400: ("bad-request", "Bad request"),
    401: (Unauthenticated.slug, Unauthenticated.title),
    403: (Forbidden.slug, Forbidden.title),
    404: (NotFound.slug, NotFound.title),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("content-too-large", "Content too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    422: (InvalidRequest.slug, InvalidRequest.title),
}


def problem_members(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """The members of `problem`'s JSON object."""
    return {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.extensions,
    }


class ProblemResponse(Response):
    """A problem as an ASGI response."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem, request_id: str | None) -> None:
        super().__init__(
            json.dumps(problem_members(problem, request_id)),
            status_code=problem.status,
            headers={**problem.headers, "Cache-Control": "no-store"},
        )


def request_id_of(scope: Scope) -> str | None:
    """The request's id, as the telemetry middleware found or made it."""
    request_id: str | None = scope.get("state", {}).get("request_id")
    return request_id


async def send_problem(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `problem` from a plain ASGI application."""
    await ProblemResponse(problem, request_id_of(scope))(scope, receive, send)


def _from_http_exception(error: HTTPException) -> Problem:
    slug, title = _STATUS_SLUGS.get(error.status_code, ("http-error", "Request refused"))
    kind = type(
        "HttpProblem", (Problem,), {"status": error.status_code, "slug": slug, "title": title}
    )
    problem: Problem = kind(str(error.detail), headers=error.headers)
    return problem


def _from_validation(error: RequestValidationError) -> Problem:
    """Name what was wrong with each field, never what was sent: it may be a password."""
    errors = [
        {"at": "/".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors()
    ]
    first = errors[0] if errors else {"at": "body", "message": "The request is not valid."}
    return InvalidRequest(f"{first['at']}: {first['message']}", errors=errors)


def problem_of(error: Exception) -> Problem | None:
    """What a client is told of a failure; None where it is a bug, of which nobody is told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _from_http_exception(error)
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, PoolTimeout):
        return Unavailable("Every database connection of this service is in use.")
    return None


def bug() -> Problem:
    """All that a client is told of a bug."""
    return Problem("Something went wrong here; the request id finds it in the log.")


def install_problem_handlers(app: FastAPI) -> None:
    """Make every failure of `app`, and the framework's own, a problem.

    A bug is raised again after its answer, for `shared.telemetry.TelemetryMiddleware` to log it.
    """

    async def answer(request: Request, error: Exception) -> Response:
        return ProblemResponse(problem_of(error) or bug(), request_id_of(request.scope))

    for kind in (Problem, HTTPException, RequestValidationError, PoolTimeout, Exception):
        app.add_exception_handler(kind, answer)
