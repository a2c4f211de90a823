"""Binary PBM, PGM and PPM: three or four numbers, then samples."""

import re

from shared.imaging.errors import UnreadableImage
from shared.imaging.essentials import Essentials
from shared.imaging.limits import Limits

_GAP = rb"(?:\s|#[^\n]{0,1000}\n){1,100}"
_HEADER = re.compile(rb"P[456]" + _GAP + rb"(\d{1,6})" + _GAP + rb"(\d{1,6})\s")


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data`, which stays as it is."""
    header = _HEADER.match(data[:8192])
    if header is None:
        raise UnreadableImage("The PNM picture's header is damaged.")
    width_px, height_px = int(header[1]), int(header[2])
    limits.check_size(width_px, height_px)
    return Essentials(data=data, width_px=width_px, height_px=height_px)
