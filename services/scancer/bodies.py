"""Finds the pictures in a request, however they were put there.

Raw bytes with any content type or none, multipart parts, form fields and JSON with base64: what
`curl -T`, `-F` and `-d` and every client library send. In each place of a picture the network's
input itself may stand, as a `.npy` file or as figures in JSON.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from services.scancer.arrays import is_array, read_array
from services.scancer.errors import UnreadableBody
from services.scancer.prediction import Image
from shared.base64text import Base64Refused, Base64TooLarge, decode_base64_text
from shared.imaging.sniff import find_format
from shared.multipart import BodyTooLarge, FilePart, parse_multipart, read_whole
from shared.scopes import header_in

#: Where a picture lies in a form or a JSON object, in the order in which they are looked for.
FIELDS = ("data", "body")
_MAX_FORM_FIELDS = 50
#: Reading so much JSON, or so large an array, would keep everybody else waiting.
_MUCH_BYTES = 128 * 1024
_MUCH_ARRAY_BYTES = 2 * 1024 * 1024


class Found(NamedTuple):
    """The pictures of a request."""

    images: tuple[Image, ...]
    is_list: bool = False
    """Whether they came as a list, even if of one."""

    @property
    def last(self) -> Image:
        """The one that counts where only one can be answered."""
        return self.images[-1]


async def read_images(request: Request, *, max_bytes: int, max_images: int) -> Found:
    """The pictures in the body, or without a body those in the query.

    Raises:
        UnreadableBody: there is none, there are too many, or the form does not parse.
        BodyTooLarge: the body is longer than `max_bytes`.
    """
    body = await read_whole(request, max_bytes)
    stated = header_in(request.scope, b"content-type") or ""
    media_type = stated.split(";", 1)[0].strip().lower()
    if not body:
        found = _from_fields(request.query_params.multi_items(), max_bytes)
    elif media_type == "multipart/form-data":
        found = await _from_multipart(request, body, max_bytes, max_images)
    elif is_array(body):
        found = (
            await asyncio.to_thread(_from_array, body, max_images)
            if len(body) > _MUCH_ARRAY_BYTES
            else _from_array(body, max_images)
        )
    elif find_format(body) is not None:
        # What is a picture is one, whatever a client's default says: curl -d calls it a form.
        found = Found((body,))
    elif media_type == "application/json":
        found = (
            await asyncio.to_thread(_from_json, body, max_bytes)
            if len(body) > _MUCH_BYTES
            else _from_json(body, max_bytes)
        )
    elif media_type == "application/x-www-form-urlencoded":
        found = _from_form(body, max_bytes)
    else:
        found = Found((_from_text(body, max_bytes),))
    if not found.images:
        raise UnreadableBody("There is no picture in the request.")
    if len(found.images) > max_images:
        raise UnreadableBody(f"A request may bring {max_images} pictures.")
    return found


def _from_array(body: bytes, max_images: int) -> Found:
    """One input, or with four axes a list of them."""
    array = read_array(body)
    if array.ndim != 4:
        return Found((array,))
    # One more than may be is as bad as millions, each of which would be an object.
    return Found(tuple(array[: max_images + 1]), is_list=True)


async def _from_multipart(request: Request, body: bytes, max_bytes: int, max_images: int) -> Found:
    try:
        parts = await parse_multipart(
            request, body, max_field_bytes=max_bytes, max_files=max_images
        )
    except MultiPartException as error:
        raise UnreadableBody(f"The form does not parse: {error.message}") from error
    files = [_opened(part) for _, part in parts if isinstance(part, FilePart) and part.content]
    named = [_opened(part) for name, part in parts if name in FIELDS and isinstance(part, FilePart)]
    if len(files) > 1 and not named:
        return Found(tuple(files), is_list=True)
    if named:
        return Found(tuple(named if len(named) == len(files) else files), len(files) > 1)
    if files:
        return Found(tuple(files))
    return _from_fields([(name, part) for name, part in parts if isinstance(part, str)], max_bytes)


def _opened(part: FilePart) -> Image:
    return read_array(part.content) if is_array(part.content) else part.content


def _from_form(body: bytes, max_bytes: int) -> Found:
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS
        )
    except (UnicodeDecodeError, ValueError):
        # Bytes of no known format: the decoder says what is wrong with them.
        return Found((body,))
    if not any(name in FIELDS for name, _ in fields):
        return Found((_from_text(body, max_bytes),))
    return _from_fields(fields, max_bytes)


def _from_fields(fields: Sequence[tuple[str, str]], max_bytes: int) -> Found:
    """The last field of the first name that is there."""
    values = dict(fields)
    for name in FIELDS:
        if name in values:
            return Found((_decoded(values[name], max_bytes),))
    raise UnreadableBody("There is no picture in the request.")


def _from_text(body: bytes, max_bytes: int) -> Image:
    """Base64 where it is that, else the bytes as they are, for the decoder to refuse."""
    try:
        decoded = decode_base64_text(body, max_bytes=max_bytes)
    except Base64Refused:
        return body
    if is_array(decoded):
        return read_array(decoded)
    return decoded if find_format(decoded) is not None else body


def _decoded(text: str, max_bytes: int) -> Image:
    try:
        decoded = decode_base64_text(text, max_bytes=max_bytes)
    except Base64TooLarge as error:
        raise BodyTooLarge(str(error), limit=max_bytes) from error
    except Base64Refused as error:
        raise UnreadableBody(f"The picture's text is not base64: {error}") from error
    return read_array(decoded) if is_array(decoded) else decoded


def _from_json(body: bytes, max_bytes: int) -> Found:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableBody("The body is not JSON.") from error
    if isinstance(document, Mapping) and isinstance(document.get("instances"), list):
        return Found(
            tuple(_image_of(each, max_bytes) for each in document["instances"]), is_list=True
        )
    return Found((_image_of(document, max_bytes),))


def _image_of(member: object, max_bytes: int) -> Image:
    """A picture as base64, alone or under a known name, or the network's input as figures."""
    if isinstance(member, Mapping):
        for name in (*FIELDS, "b64", "image", "image_bytes"):
            if name in member:
                return _image_of(member[name], max_bytes)
        raise UnreadableBody("A JSON object needs the member `data` with the picture.")
    if isinstance(member, str):
        return _decoded(member, max_bytes)
    if isinstance(member, list) and member:
        try:
            figures = np.asarray(member, np.float32)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise UnreadableBody("The figures are no array.") from error
        if figures.ndim != 3 or not np.isfinite(figures).all():
            raise UnreadableBody("The figures are no finite array of channels, rows and columns.")
        return figures
    raise UnreadableBody("There is no picture in the JSON body.")
