"""The format of some bytes, by their magic numbers only: never by a name or a claimed type."""

import re
from enum import StrEnum


class ImageFormat(StrEnum):
    """The formats that are read."""

    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    BMP = "bmp"
    GIF = "gif"
    WEBP = "webp"
    JPEG2000 = "jpeg2000"
    PNM = "pnm"
    DICOM = "dicom"


READ_FORMATS = "PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, binary PNM and DICOM"

_MAGIC: tuple[tuple[ImageFormat, bytes], ...] = (
    (ImageFormat.PNG, b"\x89PNG\r\n\x1a\n"),
    (ImageFormat.JPEG, b"\xff\xd8\xff"),
    (ImageFormat.TIFF, b"II*\0"),
    (ImageFormat.TIFF, b"MM\0*"),
    (ImageFormat.TIFF, b"II+\0"),
    (ImageFormat.TIFF, b"MM\0+"),
    (ImageFormat.GIF, b"GIF87a"),
    (ImageFormat.GIF, b"GIF89a"),
    (ImageFormat.JPEG2000, b"\0\0\0\x0cjP  \r\n\x87\n"),
    (ImageFormat.JPEG2000, b"\xff\x4f\xff\x51"),
    (ImageFormat.BMP, b"BM"),
)
_PNM = re.compile(rb"P[456][\s#]")

# A DICOM file without the 128-byte preamble starts with its first data element: group 0002 or 0008,
# a low element number, and either a value representation of two capitals or a short length.
_BARE_DICOM = re.compile(
    rb"(?:[\x02\x08]\0[\x00-\x30]\0|\0[\x02\x08]\0[\x00-\x30])"
    rb"(?:[A-Z]{2}|[\x00-\xff]\0\0\0|\0\0\0[\x00-\xff])",
    re.DOTALL,
)


def find_format(data: bytes) -> ImageFormat | None:
    """The format that `data` starts with, or None if it is none of those read here.

    "DICM" after 128 bytes wins over whatever those bytes hold: the standard leaves them free.
    """
    if data[128:132] == b"DICM":
        return ImageFormat.DICOM
    for image_format, magic in _MAGIC:
        if data.startswith(magic):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if _PNM.match(data):
        return ImageFormat.PNM
    if _BARE_DICOM.match(data):
        return ImageFormat.DICOM
    return None
