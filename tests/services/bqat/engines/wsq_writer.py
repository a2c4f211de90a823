"""Writes WSQ files, for decoding: the analysis side of the transform and the entropy coding."""

import struct
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.wsq.wavelet import Band, build_tree

Real = NDArray[np.float64]

# The biorthogonal 9/7 pair of the standard, one side from the middle out.
LOW = (0.8526986790, 0.3774028556, -0.1106244044, -0.0238494650, 0.0378284555)
HIGH = (0.7884856164, -0.4180922732, -0.0406894176, 0.0645388826)


def _unfolded(side: tuple[float, ...]) -> Real:
    return np.array([*reversed(side[1:]), *side])


def _split(samples: Real, *, swapped: bool) -> Real:
    """One step along the first axis: samples become low and high halves."""
    length = len(samples)
    if length < 2:
        return samples.copy()
    filtered = []
    for taps in (_unfolded(LOW), _unfolded(HIGH)):
        reach = len(taps) // 2
        padded = np.pad(samples, ((reach, reach), (0, 0)), mode="reflect")
        filtered.append(sum(weight * padded[tap : tap + length] for tap, weight in enumerate(taps)))
    low, high = filtered[0][0::2], filtered[1][1::2]
    return np.concatenate([high, low] if swapped else [low, high])


def transform(picture: Real, width: int, height: int) -> Real:
    """All coefficients of a picture at their places."""
    coefficients = picture.copy()
    for band in reversed(build_tree(width, height).joined):
        window = coefficients[band.y : band.y + band.height, band.x : band.x + band.width]
        rows = _split(window.T, swapped=band.swapped_across).T
        window[:] = _split(rows, swapped=band.swapped_down)
    return coefficients


def _number(value: float) -> tuple[int, int]:
    """Scale and digits of a number as the tables hold them, in 16 bits."""
    scale = 0
    while scale < 20 and value * 10 ** (scale + 1) < 65535:
        scale += 1
    return scale, round(value * 10**scale)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", marker, len(body) + 2) + body


def _symbols(indices: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Symbols with their extra bits: symbol, number, bits."""
    found: list[tuple[int, int, int]] = []
    run = 0

    def end_run() -> None:
        nonlocal run
        while run:
            if run <= 100:
                found.append((run, 0, 0))
                run = 0
            elif run <= 255:
                found.append((105, run, 8))
                run = 0
            else:
                part = min(run, 65535)
                found.append((106, part, 16))
                run -= part

    for index in indices.tolist():
        if index == 0:
            run += 1
            continue
        end_run()
        if -73 <= index <= 74:
            found.append((index + 180, 0, 0))
        else:
            bits = 8 if abs(index) <= 255 else 16
            found.append(({8: 101, 16: 103}[bits] + (index < 0), abs(index), bits))
    end_run()
    return found


def _codes(counts: Counter[int]) -> tuple[bytes, bytes, dict[int, tuple[int, int]]]:
    """A canonical code of 9 bits for each symbol: short enough, and all ones stay unused."""
    values = [symbol for symbol, _ in counts.most_common()]
    lengths = bytes([0] * 8 + [len(values)] + [0] * 7)
    return lengths, bytes(values), {value: (place, 9) for place, value in enumerate(values)}


def write_wsq(picture: NDArray[np.uint8], bin_width: float = 0.5) -> bytes:
    """Encode a picture with bins of one width; what is not coded, the highest band, is lost."""
    height, width = picture.shape
    shift, scale = float(picture.mean()), 1.0
    shift_scale, shift_digits = _number(shift)
    shift = shift_digits / 10**shift_scale
    coefficients = transform((picture.astype(np.float64) - shift) / scale, width, height)
    bands = build_tree(width, height).coded
    indices = np.concatenate([_quantised(coefficients, band, bin_width) for band in bands])
    symbols = _symbols(indices)
    counts, values, codes = _codes(Counter(symbol for symbol, _, _ in symbols))
    bits = "".join(
        f"{codes[symbol][0]:09b}" + (f"{number:0{extra}b}" if extra else "")
        for symbol, number, extra in symbols
    )
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    taps = b"".join(
        struct.pack(">BBI", value < 0, 9, round(abs(value) * 10**9))
        for side in (LOW, HIGH)
        for value in side
    )
    bin_scale, bin_digits = _number(bin_width)
    bins = struct.pack(">BHBH", bin_scale, bin_digits, bin_scale, bin_digits) * 60 + bytes(24)
    return (
        b"\xff\xa0"
        + _segment(0xFFA8, b"a comment")
        + _segment(0xFFA4, bytes([9, 7]) + taps)
        + _segment(0xFFA5, struct.pack(">BH", 1, 5) + bins)
        + _segment(
            0xFFA2,
            struct.pack(
                ">BBHHBHBHBH", 0, 255, height, width, shift_scale, shift_digits, 0, 1, 2, 0
            ),
        )
        + _segment(0xFFA6, bytes([0]) + counts + values)
        + _segment(0xFFA3, bytes([0]))
        + data
        + b"\xff\xa1"
    )


def _quantised(coefficients: Real, band: Band, bin_width: float) -> NDArray[np.int64]:
    """Bins of the width, the one around zero as well, with bin centres at a half."""
    part = coefficients[band.y : band.y + band.height, band.x : band.x + band.width]
    magnitude = np.floor((np.abs(part) - bin_width / 2) / bin_width) + 1
    return np.asarray(np.sign(part) * np.maximum(magnitude, 0), np.int64).reshape(-1)
