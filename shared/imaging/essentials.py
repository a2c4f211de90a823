"""What a raster file comes down to before a decoder may see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Coded(NamedTuple):
    """Pixels as one of Pillow's own decoders takes them, without a file around them."""

    mode: str
    """L or RGB."""
    parts: Sequence[bytes]
    decoder: str
    """Pillow's name of it."""
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Essentials:
    """A checked header, and a file reduced to what its first frame needs.

    Text, profiles, thumbnails, previews and further frames are where decoders were attacked, and
    no pixel depends on them, so they are left out.

    Attributes:
        data: a file in the same format, with the first frame only.
        width_px: width of the stored frame, before it is turned.
        height_px: its height.
        frames: how many frames the file announces.
        orientation: EXIF orientation, 1 to 8.
        is_white_zero: gray samples count from white, and the decoder does not turn them round.
        trailing_bytes: bytes after the end of the picture.
        coded: the frame alone, where it is coded in the usual way and nothing else of the header
            changes its pixels, so that the decoder needs no other reader before it.
    """

    data: bytes
    width_px: int
    height_px: int
    frames: int = 1
    orientation: int = 1
    is_white_zero: bool = False
    trailing_bytes: int = 0
    coded: Coded | None = None
