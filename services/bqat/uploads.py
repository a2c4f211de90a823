"""Multipart uploads of up to a thousand files: bounded, streamed to disk, then to the objects."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from services.bqat.domain import safe_file_name, unique_names
from services.bqat.errors import InputRefused
from shared.multipart import UnsupportedMediaType, bounded_body
from shared.objects import Objects

_MOST_FIELDS = 16
_MOST_FIELD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """An uploaded file that is kept."""

    name: str
    sha256: str


class _Parser(MultiPartParser):
    """Closes every file, also one that the body broke off in; a thousand of them fit in memory."""

    spool_max_size = 64 * 1024

    def close(self) -> None:
        """Close them."""
        for file in self._files_to_close_on_error:
            file.close()


@asynccontextmanager
async def open_form(request: Request, *, max_bytes: int, max_files: int) -> AsyncIterator[FormData]:
    """The form of a request, its files on disk until the block ends.

    Raises:
        UnsupportedMediaType: the body is no multipart form.
        BodyTooLarge: it is longer than `max_bytes`.
        InputRefused: it does not parse, or has too many parts.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.split(";", 1)[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the files in its parts.")

    async def body() -> AsyncGenerator[bytes]:
        async for chunk in bounded_body(request, max_bytes):
            yield chunk

    parser = _Parser(
        Headers({"content-type": content_type}),
        body(),
        max_files=max_files,
        max_fields=_MOST_FIELDS,
        max_part_size=_MOST_FIELD_BYTES,
    )
    try:
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise InputRefused(f"The form does not parse: {error.message}") from error
        try:
            yield form
        finally:
            await form.close()
    finally:
        parser.close()


def files_of(form: FormData, *names: str) -> list[UploadFile]:
    """The files of the parts called so."""
    return [
        part
        for name, part in form.multi_items()
        if name in names and isinstance(part, UploadFile) and part.filename
    ]


async def keep_files(
    files: list[UploadFile], objects: Objects, *, max_file_bytes: int
) -> list[Stored]:
    """Keep uploaded files; names are for eyes and are never paths.

    Raises:
        InputRefused: one of them is larger than a sample may be.
    """
    names = unique_names([safe_file_name(file.filename or "") for file in files])
    kept = []
    for name, file in zip(names, files, strict=True):
        content = await file.read(max_file_bytes + 1)
        if len(content) > max_file_bytes:
            raise InputRefused(f"A file may have {max_file_bytes} bytes.")
        kept.append(Stored(name, await objects.put(content)))
    return kept


def text_of(form: FormData, name: str) -> str | None:
    """A text field, or None."""
    value: Any = form.get(name)
    return value if isinstance(value, str) else None
