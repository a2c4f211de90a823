"""Request bodies as the old server read them: JSON, forms, multipart (Q6, Q7)."""

import codecs
import json
import re
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException
from starlette.requests import Request

from shared.multipart import parse_multipart, read_whole

MAX_PLAIN_BYTES = 1024 * 1024
# Python knows more codecs than there are charsets: some need a time quadratic in the body, and it
# remembers every unknown name for ever. `undefined` decodes nothing, which the old server told.
_CHARSET = re.compile(
    r"utf-?(8|16|32)(-?[bl]e)?|(us-)?ascii|latin-?1|iso-8859-\d{1,2}|(windows-|cp)125\d"
    r"|koi8-[ru]|shift_jis|euc-(jp|kr)|gb(2312|k|18030)|big5|undefined",
    re.ASCII | re.IGNORECASE,
)
_MAX_FORM_FIELDS = 1000

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


class UnsupportedMediaType(Exception):
    """The view reads no body of this type; the argument is the whole header."""


class ParseError(Exception):
    """The body is not what its type says; the argument is the old server's sentence."""


async def read_body(request: Request, max_bytes: int) -> Any:
    """What the client sent: a dictionary of a form's fields, or any JSON value.

    No body at all is an empty form, whatever its type (Q6).

    Raises:
        UnsupportedMediaType: there is a body, of a type that is not read.
        ParseError: it does not parse.
        shared.multipart.BodyTooLarge: it is too long.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";", 1)[0].strip().lower()
    limit = max_bytes if media_type == MULTIPART else min(max_bytes, MAX_PLAIN_BYTES)
    body = await read_whole(request, limit)
    if not body:
        return {}
    if media_type == JSON:
        return _read_json(body, _charset(content_type))
    if media_type == FORM:
        return _read_form(body)
    if media_type == MULTIPART:
        return await _read_multipart(request, body)
    raise UnsupportedMediaType(content_type)


def _charset(content_type: str) -> str:
    """The charset that the header states; UTF-8 where it states none that is known (Q27)."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"')
            return charset if _CHARSET.fullmatch(charset) else "utf-8"
    return "utf-8"


def _read_json(body: bytes, charset: str) -> Any:
    """Raise the very sentence of Python's `json` where the text is not JSON."""
    try:
        text, _ = codecs.lookup(charset).decode(body)
    except LookupError:
        text = _decoded(body)
    except UnicodeError as error:
        raise ParseError(f"JSON parse error - {error}") from error
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ParseError(f"JSON parse error - {error}") from error
    except RecursionError as error:
        raise ParseError("JSON parse error - nested too deeply") from error


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"JSON parse error - {error}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")


def _read_form(body: bytes) -> dict[str, Any]:
    """A form's fields; of several with one name the last counts."""
    try:
        fields = parse_qsl(
            body.decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=_MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise ParseError("Form parse error - too many fields") from error
    return dict(fields)


async def _read_multipart(request: Request, body: bytes) -> dict[str, Any]:
    """A form's fields and files; of several with one name the last counts.

    A body that stops before its first part is an empty form (Q7).
    """
    if not _has_boundary(request.headers["content-type"]):
        raise ParseError("Multipart form parse error - Invalid boundary in multipart: None")
    try:
        parts = await parse_multipart(request, body)
    except MultiPartException as error:
        if error.message == "Invalid multipart data.":
            return {}
        raise ParseError(f"Multipart form parse error - {error.message}") from error
    # A file part without a file name was never sent: browsers send an empty field so.
    return {name: part for name, part in parts if isinstance(part, str) or part.name}


def _has_boundary(content_type: str) -> bool:
    return any(
        part.strip().lower().startswith("boundary=") and part.strip() != "boundary="
        for part in content_type.split(";")[1:]
    )
