"""Request bodies as old clients send them: forms, JSON, multipart; names in any spelling (Q4)."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from services.netra.compat import errors
from shared.multipart import BodyTooLarge, FilePart, parse_multipart, read_whole

_MAX_FIELDS = 64
#: What requests without an image may have.
MAX_SMALL_BODY_BYTES = 64 * 1024
#: From here on reading is a thread's work.
LARGE_BYTES = 2 * 1024 * 1024
#: What encoders of forms make of the three characters of base64 that need it.
_ESCAPES = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="))
_MANY_ESCAPES = 1000

Value = str | bytes
Fields = Mapping[str, Value]


async def read_fields(request: Request, max_bytes: int) -> Fields:
    """The fields of a request by their names in small letters without `_` and `-`.

    Text stays as it was sent where it may be large: a form's value is bytes, a JSON text is str.

    Raises:
        OldError: the body is too long or does not parse.
    """
    try:
        body = await read_whole(request, max_bytes)
    except BodyTooLarge as error:
        holds_images = max_bytes > MAX_SMALL_BODY_BYTES
        raise (errors.image_too_large() if holds_images else errors.bad_body()) from error
    media_type = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_multipart(request, body, max_bytes)
    read = _read_form
    if media_type == "application/json" or body[:1].lstrip() == b"{":
        read = _read_json
    # Milliseconds per megabyte: the largest would hold everybody else up.
    return read(body) if len(body) < LARGE_BYTES else await to_thread.run_sync(read, body)


def text_of(fields: Fields, name: str) -> str:
    """A short field as text; empty where it was not sent."""
    value = fields.get(plain_name(name), "")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise errors.bad_body()
    return value


def plain_name(name: str) -> str:
    """A field's name in the one spelling that counts: `jobId`, `jobid` and `job_id` are one."""
    return name.strip().lower().replace("_", "").replace("-", "")


def _read_json(body: bytes) -> Fields:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise errors.bad_body() from error
    if not isinstance(found, dict):
        raise errors.bad_body()
    return {plain_name(name): _scalar(value) for name, value in found.items()}


def _scalar(value: Any) -> str:
    """A JSON value as the text that a form would have sent."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.bad_body()
    return str(value)


def _read_form(body: bytes) -> Fields:
    """A form's fields; of several with one name the last counts.

    A `+` is a blank, as forms have it; the reader of base64 knows that it may have been a `+`.
    """
    if body.count(b"&") >= _MAX_FIELDS:
        raise errors.bad_body()
    fields: dict[str, Value] = {}
    for part in body.split(b"&"):
        name, _, value = part.partition(b"=")
        fields[plain_name(_unescaped(name).decode("utf-8", "replace"))] = _unescaped(value)
    return fields


def _unescaped(value: bytes) -> bytes:
    plain = value.replace(b"+", b" ")
    if plain.count(b"%") > _MANY_ESCAPES:
        # Megabytes of base64 have tens of thousands of these three and next to no others.
        for escape, character in _ESCAPES:
            plain = plain.replace(escape, character)
    return unquote_to_bytes(plain) if b"%" in plain else plain


async def _read_multipart(request: Request, body: bytes, max_bytes: int) -> Fields:
    try:
        parts = await parse_multipart(request, body, max_field_bytes=max_bytes)
    except MultiPartException as error:
        raise errors.bad_body() from error
    return {
        plain_name(name): part.content if isinstance(part, FilePart) else part
        for name, part in parts
    }
