"""Small PNGs go to Pillow's decoder without its look at their header, to the same result."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from shared.imaging import UnreadableImage, decode, raster

SEEDS = range(200)


def small_png(seed: int) -> bytes:
    """A PNG of any size, mode and compression, of noise, a ramp or nothing, some with a text."""
    choose = random.Random(seed)
    width_px, height_px = choose.randint(1, 128), choose.randint(1, 128)
    ramp = np.add.outer(np.add.outer(np.arange(height_px), np.arange(width_px)), [0, 40, 90])
    noise = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3))
    image = Image.fromarray(choose.choice((ramp, noise, ramp * 0)).astype(np.uint8))
    text = PngImagePlugin.PngInfo()
    if choose.random() < 0.3:
        text.add_text("Comment", "a picture")
    file = io.BytesIO()
    image.convert(choose.choice(("L", "RGB", "RGB", "P", "LA", "RGBA", "1"))).save(
        file, "PNG", pnginfo=text, compress_level=choose.choice((0, 1, 6, 9))
    )
    return in_more_chunks(file.getvalue()) if choose.random() < 0.3 else file.getvalue()


def in_more_chunks(png: bytes) -> bytes:
    """The same picture, its pixels cut into chunks of a few bytes."""
    at = png.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">L", png, at)
    pixels = png[at + 8 : at + 8 + length]
    step = max(1, length // 5)
    parts = [pixels[begin : begin + step] for begin in range(0, length, step)]
    chunks = b"".join(chunk(b"IDAT", part) for part in parts)
    return png[:at] + chunks + png[at + 12 + length :]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def damaged(png: bytes, seed: int) -> bytes:
    """The file cut short, with other bytes anywhere in it, or with some put in between."""
    choose = random.Random(seed)
    at = choose.randrange(8, len(png))
    kind = choose.choice(("cut", "flip", "insert"))
    if kind == "cut":
        return png[:at]
    part = choose.randbytes(choose.randint(1, 8))
    return png[:at] + part + png[at + (len(part) if kind == "flip" else 0) :]


def in_both_ways(png: bytes, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The pixels, or the kind of refusal; first in the way of small pictures."""
    found: list[object] = []
    for small_pixels in (raster._SMALL_PIXELS, 0):
        monkeypatch.setattr(raster, "_SMALL_PIXELS", small_pixels)
        try:
            found.append(decode(png).pixels.tolist())
        except Exception as error:  # whatever it is, it has to be the same
            found.append(type(error))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_pixels_are_those_of_the_whole_file(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, whole = in_both_ways(small_png(seed), monkeypatch)

    assert isinstance(straight, list)
    assert straight == whole


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_damaged_looks_the_same_or_is_refused_alike(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, whole = in_both_ways(damaged(small_png(seed), seed), monkeypatch)

    assert straight == whole


def test_a_small_picture_that_lacks_rows_is_refused() -> None:
    """Its stream ends well, only too early."""
    header = struct.pack(">LLBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([200]) * 8) * 5)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    with pytest.raises(UnreadableImage, match="last row"):
        decode(png)


def test_the_way_of_small_pictures_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gray or coloured picture of up to 128 x 128 pixels never becomes a file again."""
    monkeypatch.setattr(raster, "_opened", None)
    for mode in ("L", "RGB"):
        file = io.BytesIO()
        Image.new(mode, (128, 128), "gray").save(file, "PNG")
        assert decode(file.getvalue()).pixels.shape[:2] == (128, 128)
