"""TIFF: rewrites the first directory so that it holds only what makes pixels."""

import struct

from shared.imaging.errors import UnreadableImage, UnsupportedImage
from shared.imaging.essentials import Essentials
from shared.imaging.ifd import (
    ORIENTATION,
    Directory,
    Entry,
    first_directory_at,
    read_directory,
    valid_orientation,
)
from shared.imaging.limits import Limits

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
_PLANAR, _FILL_ORDER, _T4, _T6, _PREDICTOR, _COLOUR_MAP = 284, 266, 292, 293, 317, 320
_INKS, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _JPEG_TABLES = 332, 338, 339, 347
_CHROMA_SUBSAMPLING, _REFERENCE_BLACK_WHITE = 530, 532
_CHUNK_LISTS = frozenset({STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES})
_KEPT = _CHUNK_LISTS | {
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, ROWS_PER_STRIP, TILE_WIDTH,
    TILE_HEIGHT, _PLANAR, _FILL_ORDER, _T4, _T6, _PREDICTOR, _COLOUR_MAP, _INKS, _EXTRA_SAMPLES,
    _SAMPLE_FORMAT, _JPEG_TABLES, _CHROMA_SUBSAMPLING, _REFERENCE_BLACK_WHITE,
}  # fmt: skip
_COMPRESSIONS = {
    1: "none", 2: "CCITT", 3: "Group 3", 4: "Group 4", 5: "LZW", 7: "JPEG", 8: "Deflate",
    32773: "PackBits", 32946: "Deflate",
}  # fmt: skip
_MAX_CHUNK_COUNT = 200_000
_MAX_OTHER_BYTES = 3 * 65536 * 2  # the colour map of 16-bit samples
_MAX_SAMPLES = 6
_MAX_TILE_SIDE_PX = 65_536


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check the first directory and give the decoder a file with nothing else in it.

    Directories are where TIFF readers are attacked: entries of one file may all point at the same
    large region, lie about tiles, and chain without an end.
    """
    directory = read_directory(data, *first_directory_at(data))
    width_px = directory.integer(data, WIDTH, 0)
    height_px = directory.integer(data, HEIGHT, 0)
    limits.check_size(width_px, height_px)
    _check_layout(data, directory, width_px, height_px, limits)
    bits = directory.integers(data, BITS, 1)
    photometric = directory.integer(data, PHOTOMETRIC, 1)
    return Essentials(
        data=_with_directory(data, directory),
        width_px=width_px,
        height_px=height_px,
        frames=_count_frames(data, directory, limits),
        orientation=valid_orientation(directory.integer(data, ORIENTATION, 1)),
        # Pillow turns samples of up to 8 bits that count from white, and leaves wider ones.
        is_white_zero=photometric == 0 and bool(bits) and bits[0] > 8,
    )


def _check_layout(
    data: bytes, directory: Directory, width_px: int, height_px: int, limits: Limits
) -> None:
    compression = directory.integer(data, COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise UnsupportedImage(
            f"TIFF compression {compression} is not read; use none, LZW, Deflate, PackBits, JPEG "
            "or CCITT."
        )
    if directory.integer(data, SAMPLES, 1) > _MAX_SAMPLES:
        raise UnsupportedImage("The TIFF picture has too many samples per pixel.")
    for tag in _KEPT & directory.entries.keys():
        entry = directory.entries[tag]
        if entry.value_at + entry.size > len(data):
            raise UnreadableImage("The TIFF directory points outside the file.")
        if tag in _CHUNK_LISTS:
            if entry.count > _MAX_CHUNK_COUNT:
                raise UnreadableImage("The TIFF picture is cut into too many pieces.")
        elif entry.size > _MAX_OTHER_BYTES:
            raise UnreadableImage("The TIFF directory is damaged.")
    if TILE_WIDTH in directory.entries or TILE_HEIGHT in directory.entries:
        tile_width_px = directory.integer(data, TILE_WIDTH, 0)
        tile_height_px = directory.integer(data, TILE_HEIGHT, 0)
        if not 0 < tile_width_px <= min(_MAX_TILE_SIDE_PX, width_px + 4096):
            raise UnreadableImage("The TIFF picture's tiles do not fit it.")
        if not 0 < tile_height_px <= min(_MAX_TILE_SIDE_PX, height_px + 4096):
            raise UnreadableImage("The TIFF picture's tiles do not fit it.")
        limits.check_size(tile_width_px, tile_height_px)


def _count_frames(data: bytes, first: Directory, limits: Limits) -> int:
    """Follow the chain of directories: to its end, its loop, its break or the limit."""
    seen: set[int] = set()
    next_at, frames = first.next_at, 1
    while next_at and next_at not in seen:
        seen.add(next_at)
        try:
            directory = read_directory(data, next_at, first.order, first.is_big)
        except UnreadableImage:
            break
        frames += 1
        limits.check_frames(frames)
        next_at = directory.next_at
    return frames


def _with_directory(data: bytes, directory: Directory) -> bytes:
    """`data` with a new first directory behind its end: the kept entries, and no next one."""
    kept: list[Entry] = [directory.entries[tag] for tag in sorted(_KEPT & directory.entries.keys())]
    padding = b"\0" * (-len(data) % 8)
    at = len(data) + len(padding)
    order, raw = directory.order, b"".join(entry.raw for entry in kept)
    if directory.is_big:
        header = data[:8] + struct.pack(f"{order}Q", at)
        tail = struct.pack(f"{order}Q", len(kept)) + raw + bytes(8)
    else:
        header = data[:4] + struct.pack(f"{order}L", at)
        tail = struct.pack(f"{order}H", len(kept)) + raw + bytes(4)
    return b"".join((header, data[len(header) :], padding, tail))
