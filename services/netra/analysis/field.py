"""Finds the field of view, the round lit part of a fundus photograph, and brings it to scale."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_SEARCH_SIDE_PX = 512
#: The border of a fundus photograph is darker than this share of its bright parts.
_DARK_SHARE = 0.12
_DARKEST, _BRIGHTEST_BORDER = 10.0, 40.0


@dataclass(frozen=True, slots=True)
class Field:
    """The box around the field of view, in pixels of the picture that was searched."""

    x0: int
    y0: int
    x1: int
    y1: int
    """Right and bottom lie just outside."""

    @property
    def diameter_px(self) -> int:
        """The longer side of the box: cameras cut the circle above and below."""
        return max(self.x1 - self.x0, self.y1 - self.y0)


def find_field(pixels: NDArray[np.uint8]) -> Field | None:
    """Find the field of view.

    Args:
        pixels: `(H, W, 3)` RGB, 0 to 255.

    Returns:
        Its box; None where the picture has no part brighter than a border.
    """
    lit, scale = lit_part(pixels)
    rows = np.flatnonzero(lit.any(axis=1))
    columns = np.flatnonzero(lit.any(axis=0))
    if not rows.size:
        return None
    height, width = pixels.shape[:2]
    return Field(
        int(columns[0] / scale),
        int(rows[0] / scale),
        min(width, int(np.ceil((columns[-1] + 1) / scale))),
        min(height, int(np.ceil((rows[-1] + 1) / scale))),
    )


def lit_part(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], float]:
    """The largest lit part of a picture.

    Args:
        pixels: `(H, W, 3)` RGB, 0 to 255.

    Returns:
        A mask of the picture reduced to 512 px, its holes filled, and the factor of the reduction.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _SEARCH_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    brightness = cv2.blur(small.max(axis=2), (5, 5))
    threshold = np.clip(_DARK_SHARE * np.percentile(brightness, 98), _DARKEST, _BRIGHTEST_BORDER)
    lit = (brightness > threshold).astype(np.uint8)
    # An opening takes off the names and dates that cameras print into the border.
    lit = cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    if count < 2:
        return np.zeros(lit.shape, bool), scale
    largest = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    outlines, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(largest)
    cv2.drawContours(filled, outlines, -1, 1, thickness=cv2.FILLED)
    return filled.astype(bool), scale


def at_scale(pixels: NDArray[np.uint8], field: Field, diameter_px: int) -> NDArray[np.uint8]:
    """Cut the field of view out and bring its diameter to `diameter_px`."""
    cut = pixels[field.y0 : field.y1, field.x0 : field.x1]
    factor = diameter_px / field.diameter_px
    size = max(1, round(cut.shape[1] * factor)), max(1, round(cut.shape[0] * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, size, interpolation=way), np.uint8)


def levelled(cut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the slow changes of light and colour off a field of view, and raise the contrast.

    Args:
        cut: `(H, W, 3)` RGB from `at_scale`.

    Returns:
        The same shape: 128 where a pixel equals its neighbourhood of a twentieth of the diameter,
        also outside the lit circle.

    Source:
        Graham, "Kaggle diabetic retinopathy detection competition report", 2015, with less gain
        so that bright lesions keep their differences.
    """
    height, width = cut.shape[:2]
    step = 8
    small_size = max(1, width // step), max(1, height // step)
    small = cv2.resize(cut, small_size, interpolation=cv2.INTER_AREA).astype(np.float32)
    inside = (small.max(axis=2) > _DARKEST + 5).astype(np.float32)
    inside = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1.0)
    sigma = max(width, height) / step / 20
    weight = cv2.GaussianBlur(inside, (0, 0), sigma) + 1e-3
    mean = cv2.GaussianBlur(small * inside[..., None], (0, 0), sigma) / weight[..., None]
    full = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    contrast = (cut.astype(np.float32) - full) * (_GAIN * mask[..., None])
    return np.asarray(np.clip(contrast + 128.0, 0, 255), np.uint8)


_GAIN = 3.0
