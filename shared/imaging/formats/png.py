"""PNG: chunk by chunk, keeping the five kinds that make pixels."""

import struct
import zlib
from collections.abc import Iterator

from shared.imaging.errors import UnreadableImage
from shared.imaging.essentials import Coded, Essentials
from shared.imaging.ifd import exif_orientation
from shared.imaging.limits import Limits

_SIGNATURE_BYTES = 8
_HEADER_BYTES = 25
_MAX_CHUNKS = 100_000
_KEPT = frozenset({b"IHDR", b"PLTE"})
#: In place of the checksum of joined chunks: the decoder looks at the pixels' own, inside of them.
_NO_CHECKSUM = bytes(4)
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Gray and coloured pictures of eight bits, one row after the other.
_PLAIN_MODES = {
    bytes((8, 0, 0, 0, 0)): "L",
    bytes((8, 2, 0, 0, 0)): "RGB",
}
_INFLATED_AT_A_TIME = 1 << 20
#: Adam7: first column, first row, step of columns, step of rows of each pass (PNG, section 8.2).
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data` and drop its text, profiles, EXIF and animation.

    An animated PNG keeps its default picture. A single colour named transparent in a gray or RGB
    picture is left as it is; a palette keeps its transparency.

    Chunks of pixels that follow each other become one. Many writers make one for every 8 KB, and
    the decoder lets go of the interpreter and waits for it again at each.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise UnreadableImage("The PNG picture does not start with its header.")
    width_px, height_px, _, colour_type = struct.unpack_from(">LLBB", data, 16)
    limits.check_size(width_px, height_px)

    kept = [data[:_SIGNATURE_BYTES]]
    pixels: list[bytes] = []
    ending = b""
    frames, orientation, at, chunks, is_ended = 1, 1, _SIGNATURE_BYTES, 0, False
    while not is_ended and at + 12 <= len(data):
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise UnreadableImage("The PNG picture is cut into too many chunks.")
        (length,) = struct.unpack_from(">L", data, at)
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"IDAT":
            pixels.append(data[at + 8 : end - 4])
        elif kind == b"IEND":
            ending = data[at:end]
        elif kind in _KEPT or (kind == b"tRNS" and colour_type == _PALETTE):
            kept += _joined(pixels)
            pixels = []
            kept.append(data[at:end])
        elif kind == b"acTL" and length == 8:
            frames = max(1, *struct.unpack_from(">L", data, at + 8))
            limits.check_frames(frames)
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        is_ended = kind == b"IEND"
        at = end
    return Essentials(
        data=b"".join([*kept, *_joined(pixels), ending]),
        width_px=width_px,
        height_px=height_px,
        frames=frames,
        orientation=orientation,
        trailing_bytes=max(0, len(data) - at),
        coded=_coded(kept, pixels),
    )


def _coded(chunks: list[bytes], pixels: list[bytes]) -> Coded | None:
    """A picture of which nothing is left but a good header and its pixels.

    Args:
        chunks: the signature, and what comes before the pixels.
        pixels: the last of them.
    """
    if len(chunks) != 2 or not pixels:
        return None
    header = chunks[1]
    mode = _PLAIN_MODES.get(header[16:21])
    if mode is None or len(header) != _HEADER_BYTES:
        return None
    if zlib.crc32(header[4:21]) != int.from_bytes(header[21:]):
        return None
    return Coded(mode, pixels, "zip", (mode, 0))


def _joined(pixels: list[bytes]) -> list[bytes]:
    """One chunk of what several held."""
    if not pixels:
        return []
    length = sum(len(part) for part in pixels)
    return [struct.pack(">L", length), b"IDAT", *pixels, _NO_CHECKSUM]


def is_interlaced(data: bytes) -> bool:
    """Whether the picture is stored in seven passes."""
    return data[28] != 0


def require_every_row(data: bytes) -> None:
    """Make sure that the compressed pixels reach to the last row.

    A stream that ends between two rows is whole to zlib, and the decoder leaves the rest black.

    Raises:
        UnreadableImage: they end too early.
    """
    missing = _filtered_bytes(data)
    inflater = zlib.decompressobj()
    try:
        for part in _compressed(data):
            waiting = part
            while waiting and missing > 0:
                missing -= len(inflater.decompress(waiting, _INFLATED_AT_A_TIME))
                waiting = inflater.unconsumed_tail
            if inflater.eof:
                break
    except zlib.error as error:
        raise UnreadableImage("The PNG picture's pixels cannot be inflated.") from error
    if missing > 0:
        raise UnreadableImage("The PNG picture ends before its last row.")


def _compressed(data: bytes) -> Iterator[bytes]:
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, at)
        if data[at + 4 : at + 8] == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _filtered_bytes(data: bytes) -> int:
    """How many bytes the pixels take before compression, a filter's byte before each row."""
    width_px, height_px, bits, colour_type = struct.unpack_from(">LLBB", data, 16)
    passes = _PASSES if is_interlaced(data) else ((0, 0, 1, 1),)
    total = 0
    for column, row, column_step, row_step in passes:
        columns = max(0, -((column - width_px) // column_step))
        rows = max(0, -((row - height_px) // row_step))
        if columns and rows:
            total += rows * (1 + (columns * bits * _SAMPLES.get(colour_type, 4) + 7) // 8)
    return total
