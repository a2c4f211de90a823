"""WebP: the RIFF chunks that say how large it is and how many frames it has."""

import struct

from shared.imaging.errors import UnreadableImage
from shared.imaging.essentials import Essentials
from shared.imaging.ifd import exif_orientation
from shared.imaging.limits import Limits

_MAX_CHUNKS = 100_000


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data`: the decoder allocates the whole canvas as soon as it sees the header."""
    sizes: list[tuple[int, int]] = []
    frames, orientation, at = 0, 1, 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        kind = data[at : at + 4]
        (length,) = struct.unpack_from("<L", data, at + 4)
        body = data[at + 8 : at + 8 + min(length, 1 << 20)]
        if kind == b"VP8X" and len(body) >= 10:
            sizes.append((1 + _uint24(body, 4), 1 + _uint24(body, 7)))
        elif kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", body, 6)
            sizes.append((width & 0x3FFF, height & 0x3FFF))
        elif kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
            packed = int.from_bytes(body[1:5], "little")
            sizes.append(((packed & 0x3FFF) + 1, ((packed >> 14) & 0x3FFF) + 1))
        elif kind == b"ANMF":
            frames += 1
            limits.check_frames(frames)
        elif kind == b"EXIF":
            orientation = exif_orientation(body)
        at += 8 + length + (length & 1)
    else:
        raise UnreadableImage("The WebP picture is cut into too many chunks.")
    if not sizes:
        raise UnreadableImage("The WebP picture has no header.")
    for size in sizes:
        limits.check_size(*size)
    return Essentials(
        data=data,
        width_px=sizes[0][0],
        height_px=sizes[0][1],
        frames=max(1, frames),
        orientation=orientation,
    )


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
