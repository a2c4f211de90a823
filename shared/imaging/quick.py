"""Whether a picture is so small that decoding it takes less than handing it to another thread."""

import struct

from shared.imaging.errors import UnreadableImage
from shared.imaging.formats.jpeg import read_frame_header
from shared.imaging.sniff import ImageFormat, find_format

# A picture of so many pixels is decoded in about half a millisecond; a thread that runs Python
# meanwhile costs the event loop as much.
_MOST_PIXELS = 128 * 128
_MOST_BYTES = 24 * 1024
_PNG_SIZE = struct.Struct(">LL")
_SCAN = b"\xff\xda"
_MOST_SCANS = 12


def is_quick(data: bytes) -> bool:
    """Whether `data` is a PNG or JPEG of at most 128 x 128 pixels, by its header.

    A header that lies is found by `decode`, before it decodes.
    """
    if len(data) > _MOST_BYTES:
        return False
    image_format = find_format(data)
    if image_format is ImageFormat.PNG:
        if len(data) < 24:
            return False
        width_px, height_px = _PNG_SIZE.unpack_from(data, 16)
        return bool(width_px * height_px <= _MOST_PIXELS)
    if image_format is ImageFormat.JPEG:
        try:
            header = read_frame_header(data)
        except UnreadableImage:
            return False
        return (
            header.width_px * header.height_px <= _MOST_PIXELS and data.count(_SCAN) <= _MOST_SCANS
        )
    return False
