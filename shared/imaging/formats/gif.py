"""GIF: block by block, keeping the first picture."""

import struct

from shared.imaging.errors import UnreadableImage
from shared.imaging.essentials import Essentials
from shared.imaging.limits import Limits

_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
_MAX_BLOCKS = 500_000
_TRUNCATED = "The GIF picture is cut short."


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data` and drop its comments, applications and further pictures."""
    walk = _Walk(data)
    if len(data) < 13:
        raise UnreadableImage(_TRUNCATED)
    width_px, height_px, flags = struct.unpack_from("<HHB", data, 6)
    limits.check_size(width_px, height_px)
    walk.at = 13 + _colour_table_bytes(flags)
    kept, control = [data[: walk.at]], b""
    frames = 0
    while walk.at < len(data):
        kind, start = data[walk.at], walk.at
        if kind == _EXTENSION:
            label = data[start + 1 : start + 2]
            walk.at += 2
            walk.skip_blocks()
            if frames == 0 and label == bytes((_GRAPHIC_CONTROL,)):
                control = data[start : walk.at]
        elif kind == _PICTURE:
            frames += 1
            limits.check_frames(frames)
            if start + 10 > len(data):
                raise UnreadableImage(_TRUNCATED)
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, start + 1)
            walk.at += 10 + _colour_table_bytes(flags) + 1
            if frames == 1:
                # Decoders grow the canvas to a first picture that does not fit in.
                width_px, height_px = max(width_px, left + width), max(height_px, top + height)
                limits.check_size(width_px, height_px)
                walk.skip_blocks()
                kept += [control, data[start : walk.at]]
            else:
                walk.skip_blocks()
        else:
            break
    if frames == 0:
        raise UnreadableImage("The GIF file has no picture.")
    trailing = len(data) - walk.at - 1 if data[walk.at : walk.at + 1] == b";" else 0
    return Essentials(
        data=b"".join([*kept, bytes((_TRAILER,))]),
        width_px=width_px,
        height_px=height_px,
        frames=frames,
        trailing_bytes=trailing,
    )


class _Walk:
    """A place in the file, and how many data blocks were passed to get there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.blocks = 0

    def skip_blocks(self) -> None:
        """Go past a chain of data blocks and its empty last one."""
        data, at = self.data, self.at
        while at < len(data) and data[at]:
            at += data[at] + 1
            self.blocks += 1
            if self.blocks > _MAX_BLOCKS:
                raise UnreadableImage("The GIF picture is cut into too many blocks.")
        self.at = at + 1


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
