"""Reads the request that brings a slide, a raw body or a form, a piece at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from services.scancer.slides.domain import Order
from services.scancer.slides.schemas import SlideIn
from services.scancer.slides.service import Received, Slides
from shared.multipart import bounded_body
from shared.problems import InvalidRequest

_PIECE_BYTES = 1024 * 1024
_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 8 * 1024
#: What a form adds to the file that it holds.
_FORM_BYTES = 64 * 1024


@asynccontextmanager
async def received(request: Request, slides: Slides) -> AsyncIterator[tuple[Received, Order]]:
    """The slide on disk, and what the request says of it.

    Raises:
        BodyTooLarge: the body is longer than a slide may be.
        InvalidRequest: a field says what it may not, or the form has no part `slide`.
    """
    stated = dict(request.query_params)
    content_type = request.headers.get("content-type", "")
    limit = slides.allowance.max_file_bytes
    if content_type.split(";", 1)[0].strip().lower() != "multipart/form-data":
        order = _to_order(stated)
        async with slides.receive(bounded_body(request, limit)) as file:
            yield _not_empty(file), order
        return
    parser = MultiPartParser(
        Headers({"content-type": content_type}),
        bounded_body(request, limit + _FORM_BYTES),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The form does not parse: {error.message}") from error
    try:
        part = form.get("slide")
        if not isinstance(part, UploadFile):
            raise InvalidRequest("Send the slide as the file part `slide`.")
        stated |= {name: value for name, value in form.items() if isinstance(value, str)}
        order = _to_order(stated)
        async with slides.receive(_pieces_of(part)) as file:
            yield _not_empty(file), order
    finally:
        await form.close()


async def _pieces_of(part: UploadFile) -> AsyncIterator[bytes]:
    while piece := await part.read(_PIECE_BYTES):
        yield piece


def _not_empty(file: Received) -> Received:
    if not file.size_bytes:
        raise InvalidRequest("The body is empty; send the slide.")
    return file


def _to_order(stated: dict[str, str]) -> Order:
    try:
        return SlideIn.model_validate(stated).to_order()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{place}: {first['msg']}") from error
