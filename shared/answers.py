"""Files, conditional answers and how both are described: the same in every service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

#: Whatever the bytes are, a browser runs nothing of them and guesses no other type.
INERT_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
PRIVATE: Mapping[str, str] = {"Cache-Control": "private, no-store"}

_TEXT: Mapping[str, str] = {"type": "string"}
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "request_id": {"type": ["string", "null"]},
    },
}

Described = dict[int | str, dict[str, Any]]


def binary_answer(*media_types: str) -> Described:
    """The OpenAPI description of a file."""
    content = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, content)}}


def problem_answers(*statuses: int) -> Described:
    """The OpenAPI description of refusals."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def is_known(etag: str, header: str | None) -> bool:
    """Whether `If-None-Match` or `If-Match` names what `etag` stands for (RFC 9110, section 13)."""
    if header is None:
        return False
    known = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in known or etag in known


def not_modified(etag: str) -> Response:
    """The client has it already."""
    return Response(status_code=304, headers={"ETag": etag, **PRIVATE})


def file_answer(content: bytes, media_type: str, name: str, disposition: str) -> Response:
    """A private file under a fixed type; `name` is one of ours."""
    return Response(
        content,
        headers={
            **INERT_HEADERS,
            **PRIVATE,
            "Content-Type": media_type,
            "Content-Disposition": f'{disposition}; filename="{name}"',
        },
    )


def wants_png(own_media_type: str, accept: str) -> bool:
    """Whether a client names PNG and nothing that the file's own type would satisfy."""
    named = {part.split(";", 1)[0].strip().lower() for part in accept.split(",")}
    kind = own_media_type.split("/")[0]
    return "image/png" in named and named.isdisjoint({own_media_type, f"{kind}/*", "*/*"})
