"""How the original server wrote its answers, and what it called its failures (Q1, Q2)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

JSON_TYPE: Final = "application/json"
STATUS_TEXTS: Final[Mapping[int, str]] = {
    200: "Success",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    400: "Bad Requests",
    401: "Unauthorized",
    404: "Not found",
    409: "Conflict",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


class Refused(Exception):
    """An answer that the original server had a code and a sentence for."""

    def __init__(self, code: int, error: str | None = None) -> None:
        super().__init__(error)
        self.code = code
        self.error = error


def to_json(body: Any) -> bytes:
    """JSON as Flask 1.1 wrote it: blanks behind separators, ASCII alone, a newline at the end."""
    return json.dumps(body).encode() + b"\n"


def answer(data: Any = None, *, code: int = 200) -> Response:
    """A good answer; HTTP says the same code as the body."""
    body: dict[str, Any] = {"code": code, "status_code": STATUS_TEXTS[code]}
    if data is not None:
        body["data"] = data
    return Response(to_json(body), code, media_type=JSON_TYPE)


def refusal(
    code: int, error: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says no."""
    body: dict[str, Any] = {
        "code": code,
        "status_code": STATUS_TEXTS.get(code, STATUS_TEXTS[500]),
    }
    if error is not None:
        body["error"] = error
    return Response(to_json(body), code, headers=dict(headers or {}), media_type=JSON_TYPE)


def message(code: int, text: str) -> Response:
    """What the framework below the original server answered by itself."""
    return Response(to_json({"message": text}), code, media_type=JSON_TYPE)
