"""What the formats that are decoded are called elsewhere."""

from collections.abc import Mapping

MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "webp": "image/webp",
    "jpeg2000": "image/jp2",
    "pnm": "image/x-portable-anymap",
    "dicom": "application/dicom",
}
#: What browsers show themselves; everything else is drawn for them.
BROWSER_FORMATS = frozenset({"png", "jpeg", "gif", "webp", "bmp"})
_SUFFIXES: Mapping[str, str] = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2", "dicom": "dcm"}


def suffix_of(format: str) -> str:  # noqa: A002 (the word of `Picture`)
    """How the names of such files end, without the dot."""
    return _SUFFIXES.get(format, format)
