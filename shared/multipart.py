"""Multipart bodies, read into bounded memory."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from shared.problems import InvalidRequest, Problem
from shared.scopes import header_in

#: More parts than any form of ours has, and few enough to cost nothing.
MAX_FILES = 4
MAX_FIELDS = 16
MAX_FIELD_BYTES = 64 * 1024


#: What nearly every client sends. Anything else is left to the parser that knows all of it.
_PLAIN_TYPE = re.compile(r"multipart/form-data; *boundary=([0-9A-Za-z_.-]{1,70})")
_PLAIN_HEADERS = re.compile(
    rb'\r\n(?i:Content-Disposition): form-data; name="([ \w.-]{1,100})"'
    rb'(?:; filename="([ \w.,()+-]{1,200})")?'
    rb"(?:\r\n(?i:Content-Type): [\w/.+-]{1,100})?\r\n\r\n",
    re.ASCII,
)


#: Multipart forms have no charset (RFC 7578), but the full parser would decode with it.
_CHARSET = re.compile(r";\s*charset[^;]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file in a form."""

    name: str
    """What the client calls it."""
    content: bytes


Parts = list[tuple[str, str | FilePart]]


class BodyTooLarge(Problem):
    """The request has more bytes than this service reads."""

    status, slug, title = 413, "content-too-large", "Content too large"


class UnsupportedMediaType(Problem):
    """The body is not of a kind that this operation reads."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class _MemoryParser(MultiPartParser):
    """Keeps files in memory: the whole body is bounded, and a disk would only slow it down."""

    spool_max_size = 1 << 62

    def close(self) -> None:
        """Close every file, also one that the body broke off in."""
        for file in self._files_to_close_on_error:
            file.close()


async def bounded_body(request: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body's chunks.

    Raises:
        BodyTooLarge: the body is longer, as soon as its header or its bytes say so.
    """
    _check_announced(request, max_bytes)
    received = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            yield chunk


async def read_whole(request: Request, max_bytes: int) -> bytes:
    """The whole body, which nobody has begun to read.

    Raises:
        BodyTooLarge: the body is longer, as soon as its header or its bytes say so.
        ClientDisconnect: the client has left.
    """
    _check_announced(request, max_bytes)
    chunks: list[bytes] = []
    received = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_announced(request: Request, max_bytes: int) -> None:
    announced = header_in(request.scope, b"content-length") or ""
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"A request may have {max_bytes} bytes.", limit=max_bytes)


async def parse_multipart(
    request: Request,
    body: bytes,
    *,
    max_field_bytes: int = MAX_FIELD_BYTES,
    max_files: int = MAX_FILES,
) -> Parts:
    """The parts of a multipart body, in their order.

    Args:
        request: says in its header where parts end.
        body: all of it.
        max_field_bytes: the longest part that is no file.
        max_files: how many parts may be files.

    Raises:
        MultiPartException: it has no boundary, too many parts, or does not parse.
    """
    content_type = _CHARSET.sub("", request.headers.get("content-type", ""))
    parts = find_plain_parts(content_type, body, max_field_bytes, max_files)
    if parts is not None:
        return parts

    async def whole() -> AsyncGenerator[bytes]:
        yield body

    parser = _MemoryParser(
        Headers({"content-type": content_type}),
        whole(),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=max_field_bytes,
    )
    try:
        form = await parser.parse()
        return [(name, _as_part(part)) for name, part in form.multi_items()]
    finally:
        parser.close()


def find_plain_parts(
    content_type: str,
    body: bytes,
    max_field_bytes: int = MAX_FIELD_BYTES,
    max_files: int = MAX_FILES,
) -> Parts | None:
    """The parts of a body of the plainest form, found by searching for its boundary.

    Returns:
        What the full parser would find, for a fraction of its work; None where the body has
        anything unusual, or too much of anything, which is then the full parser's to refuse.
    """
    plain = _PLAIN_TYPE.fullmatch(content_type)
    if plain is None:
        return None
    delimiter = b"\r\n--" + plain[1].encode()
    if not body.startswith(delimiter[2:]):
        return None
    ends = [len(delimiter) - 2]
    while (place := body.find(delimiter, ends[-1])) >= 0:
        ends.append(place + len(delimiter))
        if len(ends) > max_files + MAX_FIELDS + 1:
            return None
    if len(ends) < 2 or body[ends[-1] :] not in (b"--", b"--\r\n"):
        return None
    parts: Parts = []
    files = 0
    for start, end in pairwise(ends):
        headers = _PLAIN_HEADERS.match(body, start, end - len(delimiter))
        if headers is None:
            return None
        content = body[headers.end() : end - len(delimiter)]
        name = headers[1].decode("ascii")
        if headers[2] is not None:
            files += 1
            parts.append((name, FilePart(headers[2].decode("ascii"), content)))
        elif len(content) <= max_field_bytes:
            try:
                parts.append((name, content.decode()))
            except UnicodeDecodeError:
                return None
        else:
            return None
    return parts if files <= max_files and len(parts) - files <= MAX_FIELDS else None


def _as_part(part: str | UploadFile) -> str | FilePart:
    if isinstance(part, str):
        return part
    # In memory, so that nothing waits for a disk here.
    return FilePart(part.filename or "", part.file.read())


async def read_multipart(request: Request, max_bytes: int) -> dict[str, str | FilePart]:
    """The parts of a request to the modern API; of several with one name the first counts.

    Raises:
        UnsupportedMediaType: the body is no multipart form.
        BodyTooLarge: the body is longer than `max_bytes`.
        InvalidRequest: it does not parse.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.split(";", 1)[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the file in the part `image`.")
    body = await read_whole(request, max_bytes)
    try:
        parts = await parse_multipart(request, body)
    except MultiPartException as error:
        raise InvalidRequest(f"The form does not parse: {error.message}") from error
    return dict(reversed(parts))
