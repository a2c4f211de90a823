"""Images of the old API: base64 in every spelling, 5 MB, JPEG or PNG (Q5, Q6)."""

import io
import stat
import zipfile
from collections.abc import Iterator
from typing import Final

from services.netra.compat import errors
from services.netra.compat.parsing import Value
from services.netra.dependencies import plain_name
from services.netra.job import Eye
from services.netra.service import Photograph
from shared.base64text import Base64Refused, Base64TooLarge, decode_base64_text
from shared.imaging.sniff import ImageFormat, find_format

MAX_IMAGE_BYTES: Final = 5 * 1024 * 1024
MAX_ARCHIVE_BYTES: Final = 48 * 1024 * 1024
MAX_ARCHIVED_IMAGES: Final = 20
_MAX_ENTRIES: Final = 200
_TAKEN: Final = frozenset({ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF, ImageFormat.DICOM})
_ENCRYPTED: Final = 0x1
_EYES: Final = {"left": Eye.LEFT, "right": Eye.RIGHT}


def decode_image(value: Value) -> bytes:
    """The image that a field holds: base64 text, or the file itself in a multipart form.

    Raises:
        OldError: it is too large, no base64, or no image that is taken.
    """
    if isinstance(value, bytes) and _is_taken(value):
        image = value
    else:
        try:
            image = decode_base64_text(value, max_bytes=MAX_IMAGE_BYTES)
        except Base64TooLarge as error:
            raise errors.image_too_large() from error
        except Base64Refused as error:
            raise errors.bad_base64() from error
    return check_image(image)


def check_image(image: bytes) -> bytes:
    """`image`, if it is small enough and of a format that is taken.

    TIFF and DICOM are what the old document promised for later (Q6).

    Raises:
        OldError: it is not.
    """
    if len(image) > MAX_IMAGE_BYTES:
        raise errors.image_too_large()
    if not _is_taken(image):
        raise errors.not_jpeg_or_png()
    return image


def unpack_images(value: Value) -> list[Photograph]:
    """The photographs of a zip archive with folders `LEFT` and `RIGHT`, in its order.

    Nothing is written anywhere, and no size that the archive states is believed.

    Raises:
        OldError: it is no such archive, or holds too much or something else than images.
    """
    try:
        archive = (
            value
            if isinstance(value, bytes) and value[:2] == b"PK"
            else decode_base64_text(value, max_bytes=MAX_ARCHIVE_BYTES)
        )
    except Base64TooLarge as error:
        raise errors.image_too_large() from error
    except Base64Refused as error:
        raise errors.bad_base64() from error
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return list(_photographs(opened))
    # NotImplementedError is zipfile's word for a compression that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise errors.bad_archive() from error
    except (ValueError, zipfile.LargeZipFile) as error:
        raise errors.bad_archive() from error


def _photographs(opened: zipfile.ZipFile) -> Iterator[Photograph]:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    if len(opened.infolist()) > _MAX_ENTRIES:
        raise errors.bad_archive()
    if len({entry.filename for entry in entries}) != len(entries):
        raise errors.bad_archive()
    chosen = [(entry, eye) for entry in entries if (eye := _eye_of(entry.filename)) is not None]
    if not 0 < len(chosen) <= MAX_ARCHIVED_IMAGES:
        raise errors.bad_archive()
    for entry, eye in chosen:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
            raise errors.bad_archive()
        with opened.open(entry) as source:
            # One byte more than is taken tells, whatever the header states.
            image = source.read(MAX_IMAGE_BYTES + 1)
        yield Photograph(check_image(image), plain_name(entry.filename), eye)


def _eye_of(name: str) -> Eye | None:
    """The eye whose folder an entry lies in; None for what a desktop adds by itself."""
    *folders, base = name.replace("\\", "/").split("/")
    if base.startswith(".") or base.lower() == "thumbs.db" or "__MACOSX" in folders:
        return None
    eyes = [_EYES[folder.lower()] for folder in folders if folder.lower() in _EYES]
    return eyes[-1] if eyes else None


def _is_taken(image: bytes) -> bool:
    return find_format(image) in _TAKEN
