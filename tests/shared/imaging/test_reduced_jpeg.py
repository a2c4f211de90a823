"""Decoding a JPEG at a reduced size, and what that costs in accuracy."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import decode
from tests.shared.imaging.builders import encoded, exif_with_orientation, jpeg_with_segment


def radiograph_like(side_px: int) -> NDArray[np.uint8]:
    """Noise with the spectrum of anatomy in radiographs: power falls with frequency cubed.

    Source:
        Burgess, "Mammographic structure: data preparation and spatial statistics analysis",
        Proc. SPIE 3661, 1999: exponents around 3.
    """
    rng = np.random.default_rng(20)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side_px), np.fft.rfftfreq(side_px),
                                      indexing="ij"))  # fmt: skip
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side_px, side_px))) / frequency**1.5
    texture = np.fft.irfft2(spectrum, s=(side_px, side_px))
    scaled = (texture - texture.min()) / np.ptp(texture)
    return np.asarray(np.rint(scaled * 255), dtype=np.uint8)


def resized(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.float64]:
    """Antialiased bilinear, as preprocessing does."""
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(image).astype(np.float64)


@pytest.mark.parametrize("side_px", [2048, 2045, 1841])
@pytest.mark.parametrize("target_px", [224, 320])
def test_a_reduced_decode_deviates_by_less_than_three_tenths_of_a_level(
    side_px: int, target_px: int
) -> None:
    """Mean absolute deviation from the full decode, of 255, also where sides do not divide."""
    jpeg = encoded(radiograph_like(side_px), "JPEG", quality=92)

    full = decode(jpeg)
    reduced = decode(jpeg, target_px=target_px)
    deviation = np.abs(resized(full.pixels, target_px) - resized(reduced.pixels, target_px)).mean()

    assert reduced.pixels.shape[0] < full.pixels.shape[0]
    assert deviation <= 0.3


def test_both_sides_stay_at_least_twice_the_target() -> None:
    """The shorter side decides."""
    reduced = decode(encoded(radiograph_like(1024)[:500], "JPEG"), target_px=224)

    assert reduced.pixels.shape == (500, 1024)


def test_the_size_of_the_whole_picture_is_kept() -> None:
    """Boxes and spacings are in the picture's own pixels, after it is turned."""
    jpeg = encoded(radiograph_like(1024)[:512], "JPEG")

    reduced = decode(jpeg_with_segment(jpeg, 0xE1, exif_with_orientation(6)), target_px=64)

    assert (reduced.width_px, reduced.height_px) == (512, 1024)
    assert reduced.pixels.shape == (256, 128)


def test_other_formats_ignore_the_target() -> None:
    """Only JPEG can be decoded in part."""
    png = encoded(radiograph_like(512), "PNG")

    assert decode(png, target_px=64).pixels.shape == (512, 512)
