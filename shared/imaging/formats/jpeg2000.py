"""JPEG 2000: the SIZ segment of its codestream, bare or inside a JP2 file."""

import struct
from dataclasses import dataclass

from shared.imaging.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from shared.imaging.essentials import Essentials
from shared.imaging.limits import Limits

_CODESTREAM = b"\xff\x4f\xff\x51"
# OpenJPEG keeps about six kilobytes per tile from the moment it has read the header.
_MAX_TILES = 4_096
_MAX_COMPONENTS = 4


@dataclass(frozen=True, slots=True)
class SizeHeader:
    """What the SIZ segment says."""

    width_px: int
    height_px: int
    tiles: int
    components: int
    precision_bits: int


def read_size_header(data: bytes) -> SizeHeader:
    """The size that a JPEG 2000 codestream declares; it may stand behind JP2 boxes."""
    at = data.find(_CODESTREAM)
    if at < 0 or at + 45 > len(data):
        raise UnreadableImage("The JPEG 2000 picture has no header.")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        struct.unpack_from(">8LH", data, at + 8)
    )
    if not (tile_width and tile_height and right > left >= tile_left and bottom > top >= tile_top):
        raise UnreadableImage("The JPEG 2000 picture's header is damaged.")
    across = -(-(right - tile_left) // tile_width)
    down = -(-(bottom - tile_top) // tile_height)
    return SizeHeader(
        width_px=right - left,
        height_px=bottom - top,
        tiles=across * down,
        components=components,
        precision_bits=(data[at + 42] & 0x7F) + 1,
    )


def check_size_header(header: SizeHeader, limits: Limits) -> None:
    """Refuse what would make the decoder allocate more than the pixels are worth."""
    limits.check_size(header.width_px, header.height_px)
    if header.tiles > _MAX_TILES:
        raise ImageTooLarge(
            f"The JPEG 2000 picture has {header.tiles} tiles; at most {_MAX_TILES} are read.",
            limit=_MAX_TILES,
            found=header.tiles,
        )
    if header.components > _MAX_COMPONENTS:
        raise UnsupportedImage("The JPEG 2000 picture has too many components.")


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data`, which stays as it is."""
    header = read_size_header(data)
    check_size_header(header, limits)
    return Essentials(data=data, width_px=header.width_px, height_px=header.height_px)
