"""Files and conditional answers: headers that keep a browser from running or keeping a picture."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.responses import Response

from services.fleet.domain import media_type_of

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

#: Whatever the bytes are, a browser runs nothing of them and guesses no other type.
INERT_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


def problem_answers(*statuses: int) -> Described:
    """The OpenAPI description of refusals."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def binary_answer(*media_types: str) -> Described:
    """The OpenAPI description of a file."""
    content = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, content)}}


def etag_of(thing: UUID | str, version: int) -> str:
    """A strong validator: a thing in one of its versions."""
    return f'"{thing}.{version}"'


def is_known(etag: str, header: str | None) -> bool:
    """Whether `If-None-Match` or `If-Match` names what `etag` stands for (RFC 9110, section 13)."""
    if header is None:
        return False
    known = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in known or etag in known


def not_modified(etag: str) -> Response:
    """The client has it already."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "private, no-store"})


def picture_answer(content: bytes, number: int, etag: str) -> Response:
    """A frame's picture under the type its bytes have; what is no picture is for saving."""
    kind = media_type_of(content)
    disposition = "attachment" if kind is None else "inline"
    return Response(
        content,
        headers={
            **INERT_HEADERS,
            "Content-Type": kind or "application/octet-stream",
            "Content-Disposition": f'{disposition}; filename="frame-{number}"',
            "Cache-Control": "private, no-store",
            "ETag": etag,
        },
    )
