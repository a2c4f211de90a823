"""Pixels to PNG and JPEG, and back."""

import numpy as np
import pytest

from shared.imaging import decode, to_jpeg, to_png
from tests.shared.imaging.builders import gradient


def test_a_png_gives_back_every_pixel() -> None:
    """Gray stays gray, colours keep their order."""
    rgb = np.dstack([gradient(), gradient() // 2, 250 - gradient()])

    np.testing.assert_array_equal(decode(to_png(gradient())).pixels, gradient())
    np.testing.assert_array_equal(decode(to_png(rgb)).pixels, rgb)


def test_a_jpeg_gives_back_nearly_every_pixel() -> None:
    """Red stays red."""
    rgb = np.zeros((32, 32, 3), dtype=np.uint8)
    rgb[..., 0] = 200

    pixels = decode(to_jpeg(rgb, 95)).pixels.astype(int)

    np.testing.assert_allclose(pixels, rgb.astype(int), atol=3)


def test_a_better_quality_takes_more_bytes() -> None:
    """The parameter reaches the encoder."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)

    assert len(to_jpeg(noise, 95)) > len(to_jpeg(noise, 30))


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.float32), np.zeros((0, 2), np.uint8), np.zeros(3, np.uint8)]
)
def test_what_is_no_picture_is_a_programming_error(pixels: np.ndarray) -> None:
    """The encoder would otherwise guess."""
    with pytest.raises(ValueError, match="8 bits"):
        to_png(pixels)
