"""Where a picture shows a fingerprint at all, and how coherent its ridges are there.

Source:
    NIST NFIQ 2.3 (public domain), modules ImgProcROI and QualityMap.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.fingerprint.blocks import BLOCK_PX, Gray, gradients


@dataclass(frozen=True, slots=True)
class Foreground:
    """The fingerprint inside its picture.

    Attributes:
        mask: `(H, W)`, True on the fingerprint.
        pixels: how many there are; NFIQ 2 wants 50,000.
        mean: of the gray there, 255 where there is none.
    """

    mask: NDArray[np.bool_]
    pixels: int
    mean: float


def find_foreground(image: Gray) -> Foreground:
    """Blur, divide by Otsu's threshold, twice; close holes; keep the part with the largest box."""
    eroded = cv2.erode(image, np.ones((5, 5), np.uint8))
    first = _otsu(cv2.GaussianBlur(eroded, (41, 41), 0))
    second = _otsu(cv2.GaussianBlur(first, (91, 91), 0))
    dark = np.asarray(second == 0, np.uint8)
    outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    closed = np.zeros_like(dark)
    cv2.drawContours(closed, outlines, -1, 1, cv2.FILLED)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    mask = np.zeros(image.shape, np.bool_)
    if count > 1:
        boxes = facts[1:, cv2.CC_STAT_WIDTH] * facts[1:, cv2.CC_STAT_HEIGHT]
        mask = np.asarray(labels == 1 + int(np.argmax(boxes)), np.bool_)
    pixels = int(mask.sum())
    mean = float(image[mask].mean()) if pixels else 255.0
    return Foreground(mask, pixels, mean)


def coherence(image: Gray, foreground: Foreground) -> dict[str, float]:
    """How well gradients agree inside blocks of the fingerprint: the sum, the mean per block."""
    height, width = image.shape
    total, blocks = 0.0, 0
    for top in range(0, height, BLOCK_PX):
        for left in range(0, width, BLOCK_PX):
            window = np.s_[top : top + BLOCK_PX, left : left + BLOCK_PX]
            if foreground.mask[window].any():
                total += block_coherence(image[window])
                blocks += 1
    return {
        "OrientationMap_ROIFilter_CoherenceRel": total / blocks if blocks else 0.0,
        "OrientationMap_ROIFilter_CoherenceSum": total,
    }


def block_coherence(block: Gray) -> float:
    """The length of the summed squared gradients over the sum of their lengths, 0 to 1."""
    across, down = gradients(block)
    twice, difference = 2 * across * down, across * across - down * down
    length = float(np.hypot(twice, difference).sum())
    if length == 0:
        return 0.0
    return float(np.hypot(twice.sum(), difference.sum())) / length


def _otsu(image: NDArray[Any]) -> Gray:
    _, divided = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(divided, np.uint8)
