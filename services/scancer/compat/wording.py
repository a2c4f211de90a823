"""Answers and refusals in TorchServe's shapes: pretty JSON, its headers, its types of error."""

import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import structlog
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from services.scancer.dependencies import REALM
from shared.direct import Handler
from shared.problems import Problem, Unauthenticated, problem_members, request_id_of
from shared.scopes import header_in

log = structlog.get_logger(__name__)

#: On every answer of TorchServe (Q5).
CACHE_HEADERS: Final[Mapping[str, str]] = {
    "Pragma": "no-cache",
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}

#: Types, and statuses where they differ from today's, by the slug of the problem (Q6).
_TYPES: Final[Mapping[str, tuple[str, int | None]]] = {
    "model-not-found": ("ModelNotFoundException", None),
    "model-version-not-found": ("ModelVersionNotFoundException", None),
    "not-found": ("ResourceNotFoundException", None),
    "method-not-allowed": ("MethodNotAllowedException", None),
    "invalid-parameter": ("BadRequestException", None),
    "invalid-request": ("BadRequestException", 400),
    "default-version": ("InvalidModelVersionException", None),
    "already-registered": ("ConflictStatusException", None),
    "too-many-versions": ("ConflictStatusException", None),
    "archive-not-found": ("ModelNotFoundException", None),
    "address-refused": ("InvalidArchiveURLException", None),
    "download-failed": ("DownloadArchiveException", None),
    "invalid-package": ("InvalidModelException", None),
    "no-workers": ("ServiceUnavailableException", None),
    "workers-failed": ("InternalServerException", None),
    "engine-busy": ("ServiceUnavailableException", None),
    "engine-stopped": ("ServiceUnavailableException", None),
    "engine-memory": ("InternalServerException", 507),
    "inference-deadline": ("RequestTimeoutException", None),
    "evidence-refused": ("EvidenceRefusedException", None),
    "forbidden": ("ForbiddenException", None),
}
#: What TorchServe's handler failed on, whatever it was, it told in two words (Q7).
_PREDICTION_FAILED: Final = frozenset(
    {"unreadable-image", "unsupported-image", "unreadable-body", "picture-refused"}
)
_write_flat: Final = json.JSONEncoder(ensure_ascii=False, separators=(",\n  ", ": ")).encode
_UNAUTHORIZED_PAGE: Final = (
    "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n"
    "<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)


class ResourceNotFound(Problem):
    """The path is none of TorchServe's."""

    status, slug, title = 404, "not-found", "Not found"

    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class MethodRefused(Problem):
    """The path is known, the method is not for it."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"

    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class OldRoute(APIRoute):
    """Answers a failure as TorchServe did, or as a problem to those who ask for JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route."""
        return in_old_words(super().get_route_handler())


def in_old_words(handle: Handler) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Let a handler's failures be told as TorchServe told them, and count its answers."""

    async def handle_old(request: Request) -> Response:
        try:
            response = await handle(request)
        except Problem as problem:
            response = refusal(request, problem)
        request.state.counting.add_status(response.status_code)
        return response

    return handle_old


def wants_json(request: Request) -> bool:
    """Whether the client asks for the modern answer: only if it says so in so many words."""
    accepted = header_in(request.scope, b"accept")
    return accepted is not None and any(
        part.split(";", 1)[0].strip().lower() == "application/json" for part in accepted.split(",")
    )


def pretty(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as TorchServe writes it: two blanks a level, a line break at the end."""
    return Response(
        pretty_text(document),
        status,
        {**CACHE_HEADERS, **(headers or {}), "Content-Type": "application/json"},
    )


def marked(
    text: str, marks: Iterable[tuple[str, str]] = (), media_type: str | None = None
) -> Response:
    """An answer as TorchServe gives it, marked by further headers.

    The same few headers go with most answers, and are encoded once.
    """
    response = Response(text, media_type=media_type)
    response.raw_headers += _CACHE_LINES
    response.raw_headers += [_encoded(mark) for mark in marks]
    return response


@lru_cache(maxsize=1024)
def _encoded(header: tuple[str, str]) -> tuple[bytes, bytes]:
    return header[0].lower().encode("latin-1"), header[1].encode("latin-1")


_CACHE_LINES: Final = [_encoded(header) for header in CACHE_HEADERS.items()]


def pretty_text(document: object) -> str:
    """JSON with two blanks a level.

    With an indent Python writes it slowly, in Python; what has one level needs none.
    """
    if isinstance(document, dict) and not any(
        isinstance(each, (dict, list, tuple)) for each in document.values()
    ):
        return f"{{\n  {_write_flat(document)[1:-1]}\n}}\n" if document else "{}\n"
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def status(text: str, code: int = 200) -> Response:
    """The one-member answer of the management API."""
    return pretty({"status": text}, code)


def refusal(request: Request, problem: Problem) -> Response:
    """A problem in TorchServe's words."""
    if wants_json(request):
        return _as_problem(request, problem)
    if isinstance(problem, Unauthenticated):
        # Nginx stood before TorchServe and answered with a page.
        return Response(
            _UNAUTHORIZED_PAGE,
            401,
            {"WWW-Authenticate": REALM, "Content-Type": "text/html", "Cache-Control": "no-store"},
        )
    if problem.slug == "content-too-large":
        return Response(status_code=413, headers=dict(CACHE_HEADERS))
    code, kind, message = _worded(problem)
    log.info("old_wire_refused", problem=problem.slug, status=code)
    members = {"code": code, "type": kind, "message": message}
    return pretty(members, code, problem.headers)


def _worded(problem: Problem) -> tuple[int, str, str]:
    if problem.slug in _PREDICTION_FAILED:
        return 503, "InternalServerException", "Prediction failed"
    if problem.slug == "engine-memory":
        return 507, "InternalServerException", "Out of resources"
    kind, code = _TYPES.get(problem.slug, ("InternalServerException", None))
    return code or problem.status, kind, problem.detail


def _as_problem(request: Request, problem: Problem) -> Response:
    """Today's form; `code` and `message` are there for readers of TorchServe's."""
    members: dict[str, Any] = problem_members(problem, request_id_of(request.scope))
    members |= {"code": problem.status, "message": problem.detail}
    return Response(
        json.dumps(members),
        problem.status,
        {
            **problem.headers,
            "Content-Type": "application/problem+json",
            "Cache-Control": "no-store",
        },
    )
