"""Front ends on other origins: which may call, and what their browsers are told."""

import re
from collections.abc import Iterable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

_is_localhost = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?").fullmatch
_METHODS: Final = "GET, HEAD, POST, PUT, OPTIONS"


def origin_allowed(connection: HTTPConnection, origins: Iterable[str]) -> bool:
    """Whether a page of this connection's origin may call; without one it is no page."""
    origin = connection.headers.get("origin")
    if origin is None:
        return True
    origin = origin.lower()
    host = connection.headers.get("host", "").lower()
    return (
        origin in origins
        or origin in (f"http://{host}", f"https://{host}")
        or _is_localhost(origin) is not None
    )


def add_headers(request: HTTPConnection, answer: Response) -> Response:
    """Let pages of allowed origins read the answer."""
    origin = request.headers.get("origin")
    if origin is not None:
        answer.headers["Vary"] = "Origin"
        if origin_allowed(request, request.state.allowed_origins):
            answer.headers["Access-Control-Allow-Origin"] = origin
    return answer


def preflight(request: HTTPConnection) -> Response:
    """Answer OPTIONS."""
    answer = Response(status_code=200, headers={"Allow": _METHODS})
    if request.headers.get("origin") and origin_allowed(request, request.state.allowed_origins):
        answer.headers["Access-Control-Allow-Methods"] = _METHODS
        answer.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
        answer.headers["Access-Control-Max-Age"] = "600"
    return answer
