"""What answers about trucks say of themselves, and a frame's picture as an answer."""

from uuid import UUID

from starlette.responses import Response

from services.fleet.domain import media_type_of
from shared.answers import INERT_HEADERS, PRIVATE


def etag_of(thing: UUID | str, version: int) -> str:
    """A strong validator: a thing in one of its versions."""
    return f'"{thing}.{version}"'


def picture_answer(content: bytes, number: int, etag: str) -> Response:
    """A frame's picture under the type its bytes have; what is no picture is for saving."""
    kind = media_type_of(content)
    disposition = "attachment" if kind is None else "inline"
    return Response(
        content,
        headers={
            **INERT_HEADERS,
            **PRIVATE,
            "Content-Type": kind or "application/octet-stream",
            "Content-Disposition": f'{disposition}; filename="frame-{number}"',
            "ETag": etag,
        },
    )
