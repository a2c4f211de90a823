"""Retinal vessels by rule: dark, thin, long. What proves a fundus, and that it is in focus."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

#: The diameter of the field of view that the figures of this module are meant for.
DIAMETER_PX = 512
_LINE_PX = 21
_DIRECTIONS = 12
_WIDEST_PX = 17
#: What counts as the brightest, over the median.
_BRIGHTEST = 1.5


def local_contrast(plane: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far each pixel lies above its neighbourhood, as a share of it.

    Args:
        plane: `(H, W)`, 0 to 255, a field of view of `DIAMETER_PX`.
        inside: `(H, W)`, what belongs to the field.

    Returns:
        `(H, W)`; 0 outside the field.
    """
    sigma = DIAMETER_PX / 24
    # Beside a reflection everything looks dark; clipped, it casts less of a shadow.
    plane = np.minimum(plane, _BRIGHTEST * np.median(plane[inside]))
    weight = inside.astype(np.float32)
    spread = cv2.GaussianBlur(weight, (0, 0), sigma)
    mean = cv2.GaussianBlur(plane.astype(np.float32) * weight, (0, 0), sigma)
    mean = mean / np.maximum(spread, 1e-3)
    contrast = (plane.astype(np.float32) - mean) / np.maximum(mean, 8.0)
    return np.where(inside, contrast, 0).astype(np.float32)


def vesselness(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much darker than its surroundings a pixel is because a vessel runs through it.

    Openings of the darkness along lines keep what is long; one with a disc takes off what is wide.

    Args:
        contrast: `(H, W)` from `local_contrast`.

    Returns:
        `(H, W)`, 0 and above, as a share of the local brightness.

    Source:
        Zana and Klein, "Segmentation of vessel-like patterns using mathematical morphology and
        curvature evaluation", IEEE Transactions on Image Processing, 2001.
    """
    darkness = np.clip(-contrast, 0, 0.5)
    # Bytes are what OpenCV opens fastest; 1 / 500 of the brightness is fine enough.
    steps = np.asarray(np.round(cv2.GaussianBlur(darkness, (0, 0), 1.0) * 500), np.uint8)
    long = np.zeros_like(steps)
    for line in _lines():
        np.maximum(long, cv2.morphologyEx(steps, cv2.MORPH_OPEN, line), out=long)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WIDEST_PX, _WIDEST_PX))
    wide = cv2.morphologyEx(long, cv2.MORPH_OPEN, disc)
    return (long.astype(np.float32) - wide) / 500.0


@lru_cache(maxsize=1)
def _lines() -> tuple[NDArray[np.uint8], ...]:
    lines = []
    middle = _LINE_PX // 2
    for i in range(_DIRECTIONS):
        angle = np.pi * i / _DIRECTIONS
        dx, dy = middle * np.cos(angle), middle * np.sin(angle)
        line = np.zeros((_LINE_PX, _LINE_PX), np.uint8)
        ends = [(round(middle - s * dx), round(middle - s * dy)) for s in (1, -1)]
        cv2.line(line, ends[0], ends[1], 1)
        lines.append(line)
    return tuple(lines)


def longest_share(vessels: NDArray[np.bool_]) -> float:
    """The extent of the farthest-reaching connected vessel as a share of the field's diameter."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(vessels.astype(np.uint8), connectivity=8)
    if count < 2:
        return 0.0
    extents = np.hypot(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    return float(extents.max() / DIAMETER_PX)
