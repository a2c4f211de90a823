"""Reads the first directory of a TIFF structure, which TIFF files and EXIF blocks both are."""

import struct
from dataclasses import dataclass

from shared.imaging.errors import UnreadableImage

ORIENTATION = 274
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_TYPE_BYTES = {**_TYPE_BYTES, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
_MAX_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry: where its values are, and its own bytes."""

    tag: int
    type: int
    count: int
    value_at: int
    size: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory's entries by tag, and where the next one is (0: there is none)."""

    entries: dict[int, Entry]
    next_at: int
    order: str
    is_big: bool

    def integers(self, data: bytes, tag: int, at_most: int) -> tuple[int, ...]:
        """The first `at_most` values of an integer tag; empty where it is absent or cut off."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _INTEGER_CODES:
            return ()
        layout = f"{self.order}{min(entry.count, at_most)}{_INTEGER_CODES[entry.type]}"
        if entry.value_at + struct.calcsize(layout) > len(data):
            return ()
        return struct.unpack_from(layout, data, entry.value_at)

    def integer(self, data: bytes, tag: int, default: int) -> int:
        """The single value of an integer tag."""
        values = self.integers(data, tag, 1)
        return values[0] if values else default


def first_directory_at(data: bytes) -> tuple[int, str, bool]:
    """Where the first directory is, its byte order (`<` or `>`), and whether this is BigTIFF."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise UnreadableImage("The TIFF header is damaged.")
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:
        if len(data) < 16:
            raise UnreadableImage("The TIFF header is damaged.")
        return struct.unpack_from(f"{order}Q", data, 8)[0], order, True
    return struct.unpack_from(f"{order}L", data, 4)[0], order, False


def read_directory(data: bytes, at: int, order: str, is_big: bool) -> Directory:
    """Read the directory at `at`, without touching what its entries point at."""
    count_bytes, entry_bytes, inline_bytes = (8, 20, 8) if is_big else (2, 12, 4)
    if at < 8 or at + count_bytes > len(data):
        raise UnreadableImage("The TIFF directory lies outside the file.")
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, at)
    if count > _MAX_ENTRIES:
        raise UnreadableImage("The TIFF directory has too many entries.")
    entries: dict[int, Entry] = {}
    start = at + count_bytes
    for entry_at in range(start, start + count * entry_bytes, entry_bytes):
        raw = data[entry_at : entry_at + entry_bytes]
        if len(raw) < entry_bytes:
            raise UnreadableImage("The TIFF directory is cut short.")
        tag, kind, values = struct.unpack_from(f"{order}HH{'Q' if is_big else 'L'}", raw)
        size = values * (_BIG_TYPE_BYTES if is_big else _TYPE_BYTES).get(kind, 0)
        value_at = entry_at + entry_bytes - inline_bytes
        if size > inline_bytes:
            (value_at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'L'}", data, value_at)
        entries.setdefault(tag, Entry(tag, kind, values, value_at, size, raw))
    next_at = 0
    end = start + count * entry_bytes
    if end + inline_bytes <= len(data):
        (next_at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'L'}", data, end)
    return Directory(entries, next_at, order, is_big)


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where it has none or cannot be read.

    A picture with a broken EXIF block is still a picture, so this never refuses one.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        directory = read_directory(exif, *first_directory_at(exif))
    except UnreadableImage:
        return 1
    return valid_orientation(directory.integer(exif, ORIENTATION, 1))


def valid_orientation(value: int) -> int:
    """`value` if it is one of the eight orientations, else 1."""
    return value if 1 <= value <= 8 else 1
