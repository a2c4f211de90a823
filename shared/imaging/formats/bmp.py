"""BMP: size and compression from its header."""

import struct

from shared.imaging.errors import UnreadableImage, UnsupportedImage
from shared.imaging.essentials import Essentials
from shared.imaging.limits import Limits

_RUN_LENGTH = frozenset({1, 2})
_MAX_RUN_LENGTH_BYTES = 2 * 1024 * 1024


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data`. Run-length coded pictures are read by a slow decoder, so they must be small."""
    if len(data) < 26:
        raise UnreadableImage("The BMP picture is cut short.")
    (header_bytes,) = struct.unpack_from("<L", data, 14)
    if header_bytes == 12:
        width_px, height_px = struct.unpack_from("<HH", data, 18)
    else:
        width_px, height_px = struct.unpack_from("<ll", data, 18)
        height_px = abs(height_px)
        if len(data) < 34:
            raise UnreadableImage("The BMP picture is cut short.")
        (compression,) = struct.unpack_from("<L", data, 30)
        if compression in _RUN_LENGTH and len(data) > _MAX_RUN_LENGTH_BYTES:
            raise UnsupportedImage("Run-length coded BMP pictures are read up to 2 MB.")
    limits.check_size(width_px, height_px)
    return Essentials(data=data, width_px=width_px, height_px=height_px)
