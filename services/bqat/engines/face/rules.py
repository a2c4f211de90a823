"""Finds faces without anything learned: skin in the middle, eyes darker than cheeks and nose.

Source:
    Chai and Ngan, "Face segmentation using skin-color map in videophone applications", IEEE
    CSVT 9(4), 1999: skin is 77 <= Cb <= 127 and 133 <= Cr <= 173.
    Viola and Jones, "Robust real-time face detection", IJCV 57(2), 2004: their first two
    rectangle features, and sums over rectangles from one table.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.face.detection import suppress
from services.bqat.engines.face.geometry import Box, Face, Pixels

Plane = NDArray[np.float64]

_WORK_PX = 160
_SKIN_LOW, _SKIN_HIGH = (0, 133, 77), (255, 173, 127)
_GROWTH = 1.2
_SMALLEST_PX, _ASPECT = 16, 1.3
_LEAST_SCORE = 0.45
# Left, top, right, bottom in widths and heights of the window.
_SKIN_INSIDE = (0.15, 0.25, 0.85, 0.9)
_BESIDE = ((-0.35, 0.1, -0.05, 0.8), (1.05, 0.1, 1.35, 0.8))
_ABOVE = (0.1, -0.25, 0.9, 0.0)
_EYES = ((0.12, 0.33, 0.42, 0.48), (0.58, 0.33, 0.88, 0.48))
_BRIDGE = (0.42, 0.33, 0.58, 0.48)
_CHEEKS = ((0.12, 0.52, 0.38, 0.68), (0.62, 0.52, 0.88, 0.68))


def detect_by_rules(picture: Pixels) -> list[Face]:
    """Windows that look like upright faces, the best first; the confidence is no probability.

    Args:
        picture: `(H, W, 3)` RGB.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, _WORK_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float64)
    sums = _Sums(luma, _skin(small))
    faces = []
    window = float(_SMALLEST_PX)
    while window <= min(size[0], size[1] / _ASPECT):
        scores = sums.scores(window)
        place = int(np.argmax(scores)) if scores.size else 0
        if scores.size and float(scores.flat[place]) >= _LEAST_SCORE:
            top, left = np.unravel_index(place, scores.shape)
            box = Box(
                float(left / scale),
                float(top / scale),
                float((left + window) / scale),
                float((top + window * _ASPECT) / scale),
            )
            faces.append(Face(box, min(1.0, float(scores.flat[place]))))
        window *= _GROWTH
    kept = suppress(faces)
    return sorted(kept, key=lambda face: -face.confidence)


def _skin(picture: Pixels) -> Plane:
    """1 where the colour is skin's; a gray picture says nothing and is 1 everywhere."""
    channels = picture.astype(np.int16)
    if int(np.abs(channels - channels[..., :1]).max()) < 8:
        return np.ones(picture.shape[:2])
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    return np.asarray(cv2.inRange(luma, _SKIN_LOW, _SKIN_HIGH) > 0, np.float64)


class _Sums:
    """Means over rectangles at every place of a picture."""

    def __init__(self, luma: Plane, skin: Plane) -> None:
        self._height, self._width = luma.shape
        self._pad = max(self._height, self._width)
        self._luma = self._table(luma)
        self._square = self._table(luma * luma)
        self._skin = self._table(skin)
        self._ones = self._table(np.ones_like(luma))

    def _table(self, plane: Plane) -> Plane:
        return np.pad(plane, self._pad + 1).cumsum(axis=0).cumsum(axis=1)

    def _mean(self, table: Plane, window: float, part: tuple[float, float, float, float]) -> Plane:
        """The mean over `part` of the window at each place; 0 where it lies outside."""
        rows = self._height - round(window * _ASPECT) + 1
        columns = self._width - round(window) + 1
        left, right = round(part[0] * window), round(part[2] * window)
        top, bottom = (round(side * window * _ASPECT) for side in (part[1], part[3]))
        start = self._pad

        def corner(down: int, across: int, of: Plane) -> Plane:
            return of[start + down : start + down + rows, start + across : start + across + columns]

        def total(of: Plane) -> Plane:
            return (
                corner(bottom, right, of)
                - corner(top, right, of)
                - corner(bottom, left, of)
                + corner(top, left, of)
            )

        return np.asarray(total(table) / np.maximum(total(self._ones), 1), np.float64)

    def scores(self, window: float) -> Plane:
        """How much a window at each place looks like a face, about 0 to 1."""
        whole = (0.0, 0.0, 1.0, 1.0)
        mean = self._mean(self._luma, window, whole)
        deviation = np.sqrt(np.maximum(self._mean(self._square, window, whole) - mean**2, 25.0))
        skin = self._mean(self._skin, window, _SKIN_INSIDE)
        beside = sum(self._mean(self._skin, window, part) for part in _BESIDE) / 2
        above = self._mean(self._skin, window, _ABOVE)
        eyes = [self._mean(self._luma, window, part) for part in _EYES]
        cheeks = [self._mean(self._luma, window, part) for part in _CHEEKS]
        bridge = self._mean(self._luma, window, _BRIDGE)
        darker = np.minimum(cheeks[0] - eyes[0], cheeks[1] - eyes[1]) / deviation
        nose = (bridge - np.maximum(eyes[0], eyes[1])) / deviation
        uneven = np.abs(eyes[0] - eyes[1]) / deviation
        score = (
            0.35 * skin
            + 0.2 * (skin - beside)
            + 0.1 * (skin - above)
            + 0.25 * np.clip(darker, -0.5, 1)
            + 0.2 * np.clip(nose, -0.5, 1)
            - 0.1 * np.clip(uneven, 0, 1)
            # Many things look like a small face.
            - 0.15 * _SMALLEST_PX / window
        )
        return np.asarray(np.where(skin > 0.5, score, 0.0), np.float64)
