"""The segments of a WSQ file: sizes, tables and blocks of entropy-coded coefficients.

Source:
    FBI, "WSQ gray-scale fingerprint image compression specification", IAFIS-IC-0110.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

_START, _END = 0xFFA0, 0xFFA1
_FRAME, _BLOCK, _TRANSFORM, _QUANTISATION, _HUFFMAN = 0xFFA2, 0xFFA3, 0xFFA4, 0xFFA5, 0xFFA6
_RESTART_INTERVAL, _COMMENT = 0xFFA7, 0xFFA8
_MAX_TAPS = 32
_MAX_TABLES = 8
_MAX_PIXELS = 20_000_000
_CODE_BITS = 16
SUBBANDS = 64


class Damaged(Exception):
    """The bytes are not a WSQ picture that can be decoded."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header says: a pixel is `coefficient * scale + shift`."""

    width: int
    height: int
    shift: float
    scale: float


@dataclass(frozen=True, slots=True)
class HuffmanTable:
    """Lookup by the next 16 bits: the length of the code, 0 for none, and its symbol."""

    lengths: bytes
    symbols: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Entropy-coded bytes without stuffing, and the table they were coded with."""

    table: HuffmanTable
    data: bytes


@dataclass(slots=True)
class Container:
    """Everything in a file that decoding needs."""

    frame: Frame | None = None
    low_pass: Real | None = None
    high_pass: Real | None = None
    bin_centre: float = 0.0
    bins: list[tuple[float, float]] = field(default_factory=list)
    """Per subband the width of its bins and of the one around zero."""
    tables: dict[int, HuffmanTable] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


def read_container(content: bytes) -> Container:
    """Read all segments.

    Raises:
        Damaged: a segment is missing, cut short or impossible.
    """
    try:
        return _read(content)
    except (struct.error, IndexError) as error:
        raise Damaged("it is cut short") from error


def _read(content: bytes) -> Container:
    found = Container()
    at = 2
    while at + 2 <= len(content):
        marker = struct.unpack_from(">H", content, at)[0]
        if marker == _END:
            return found
        length = struct.unpack_from(">H", content, at + 2)[0]
        body = content[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise Damaged("a segment is cut short")
        at += 2 + length
        if marker == _FRAME:
            found.frame = _frame(body)
        elif marker == _TRANSFORM:
            found.high_pass, found.low_pass = _filters(body)
        elif marker == _QUANTISATION:
            found.bin_centre, found.bins = _quantisation(body)
        elif marker == _HUFFMAN:
            _add_tables(body, found.tables)
        elif marker == _BLOCK:
            if body[0] not in found.tables:
                raise Damaged("a block names a table that is not there")
            end = _end_of_block(content, at)
            data = content[at:end].replace(b"\xff\x00", b"\xff")
            found.blocks.append(Block(found.tables[body[0]], data))
            at = end
        elif marker not in (_COMMENT, _RESTART_INTERVAL):
            raise Damaged("a segment is of an unknown kind")
    raise Damaged("it does not end")


def _end_of_block(content: bytes, at: int) -> int:
    """Where the next marker stands: an FF that no zero follows."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 1 >= len(content):
            raise Damaged("it is cut short")
        if content[at + 1] != 0:
            return at
        at += 2


def _scaled(digits: int, scale: int) -> float:
    if scale > 30:
        raise Damaged("a number is impossible")
    return float(digits) / 10.0**scale


def _frame(body: bytes) -> Frame:
    _, _, height, width, shift_scale, shift, scale_scale, scale = struct.unpack_from(
        ">BBHHBHBH", body
    )
    if not (width and height) or width * height > _MAX_PIXELS:
        raise Damaged(f"it is {width} x {height} pixels")
    return Frame(width, height, _scaled(shift, shift_scale), _scaled(scale, scale_scale))


def _filters(body: bytes) -> tuple[Real, Real]:
    """Synthesis filters of the high and the low halves, unfolded from one side."""
    high_taps, low_taps = body[0], body[1]
    if not (high_taps % 2 and low_taps % 2 and max(high_taps, low_taps) <= _MAX_TAPS):
        raise Damaged("its filters are not of odd length")
    at, filters = 2, []
    for taps in (high_taps, low_taps):
        side = []
        for place in range((taps + 1) // 2):
            sign, scale, digits = struct.unpack_from(">BBI", body, at)
            at += 6
            value = _scaled(digits, scale) * (-1 if sign else 1)
            side.append(-value if place % 2 else value)
        filters.append(np.array([*reversed(side[1:]), *side], np.float32))
    return filters[0], filters[1]


def _quantisation(body: bytes) -> tuple[float, list[tuple[float, float]]]:
    scale, centre = struct.unpack_from(">BH", body)
    bins = []
    for subband in range(SUBBANDS):
        width_scale, width, zero_scale, zero = struct.unpack_from(">BHBH", body, 3 + 6 * subband)
        bins.append((_scaled(width, width_scale), _scaled(zero, zero_scale)))
    return _scaled(centre, scale), bins


def _add_tables(body: bytes, tables: dict[int, HuffmanTable]) -> None:
    at = 0
    while at < len(body):
        number, counts = body[at], body[at + 1 : at + 17]
        values = body[at + 17 : at + 17 + sum(counts)]
        if number >= _MAX_TABLES or len(counts) != _CODE_BITS or len(values) != sum(counts):
            raise Damaged("a Huffman table is damaged")
        tables[number] = _lookup(counts, values)
        at += 17 + len(values)


def _lookup(counts: bytes, values: bytes) -> HuffmanTable:
    """Canonical codes, shortest first, as a table of 65,536 entries."""
    lengths, symbols = bytearray(), bytearray()
    place = 0
    for length, count in enumerate(counts, start=1):
        run = 1 << (_CODE_BITS - length)
        for value in values[place : place + count]:
            lengths += bytes([length]) * run
            symbols += bytes([value]) * run
        place += count
        if len(lengths) > 1 << _CODE_BITS:
            raise Damaged("a Huffman table has too many codes")
    rest = (1 << _CODE_BITS) - len(lengths)
    return HuffmanTable(bytes(lengths) + bytes(rest), bytes(symbols) + bytes(rest))
