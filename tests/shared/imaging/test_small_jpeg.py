"""Small JPEGs go to Pillow's decoder without its look at their header, to the same result."""

import io
import random

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import UnreadableImage, decode
from shared.imaging.raster import _SMALL_PIXELS

SEEDS = range(200)


def small_jpeg(seed: int) -> bytes:
    """A JPEG of any size, colour, quality, subsampling and coding, of noise or of a ramp."""
    choose = random.Random(seed)
    width_px, height_px = choose.randint(1, 128), choose.randint(1, 128)
    ramp = np.add.outer(np.add.outer(np.arange(height_px), np.arange(width_px)), [0, 40, 90])
    noise = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3))
    image = Image.fromarray(choose.choice((ramp, noise)).astype(np.uint8))
    file = io.BytesIO()
    image.convert(choose.choice(("L", "RGB"))).save(
        file,
        "JPEG",
        quality=choose.choice((20, 75, 90, 100)),
        subsampling=choose.choice((0, 1, 2)),
        progressive=choose.random() < 0.4,
        optimize=choose.random() < 0.3,
        restart_marker_blocks=choose.choice((0, 0, 3)),
    )
    return file.getvalue()


def damaged(jpeg: bytes, seed: int) -> bytes:
    """The file cut short, with other bytes among its samples, or with some put in between."""
    choose = random.Random(seed)
    begin = jpeg.rindex(b"\xff\xda") + 12
    at = choose.randrange(begin, len(jpeg))
    kind = choose.choice(("cut", "flip", "insert"))
    if kind == "cut":
        return jpeg[:at]
    part = choose.randbytes(choose.randint(1, 20))
    return jpeg[:at] + part + jpeg[at + (len(part) if kind == "flip" else 0) :]


def by_pillow(jpeg: bytes) -> NDArray[np.uint8] | None:
    """What Pillow makes of the whole file; None where it refuses it."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError):
        return None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_pixels_are_those_that_pillow_finds(seed: int) -> None:
    jpeg = small_jpeg(seed)

    np.testing.assert_array_equal(decode(jpeg).pixels, by_pillow(jpeg))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_pillow_refuses_is_refused(seed: int) -> None:
    """And what it takes, damaged as it may be, looks the same."""
    jpeg = damaged(small_jpeg(seed), seed)
    expected = by_pillow(jpeg)
    try:
        found = decode(jpeg).pixels
    except UnreadableImage:
        found = None

    assert (found is None) == (expected is None)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("side_px", [127, 128, 129])
def test_the_size_at_which_the_way_changes_is_seen_by_nobody(side_px: int) -> None:
    """What one way reads, the other reads too."""
    random_pixels = np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(random_pixels).save(file, "JPEG", quality=90)
    jpeg = file.getvalue()

    assert (side_px**2 <= _SMALL_PIXELS) == (side_px < 129)
    np.testing.assert_array_equal(decode(jpeg).pixels, by_pillow(jpeg))
    with pytest.raises(UnreadableImage):
        decode(jpeg[:-40])
