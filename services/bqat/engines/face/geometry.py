"""Boxes, crops and points of a face."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Box:
    """A face's box in pixels of the picture; it may reach beyond its edges."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels, never negative."""
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        """X and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    Attributes:
        box: where it is.
        confidence: 0 to 1.
        points: `(5, 2)`: the subject's right eye, left eye, nose, right and left corner of the
            mouth, or None where the detector finds none. The right eye is on the picture's left.
    """

    box: Box
    confidence: float
    points: Points | None = None


@dataclass(frozen=True, slots=True)
class Crop:
    """A square cut out of a picture, turned and scaled; knows the way back."""

    pixels: Pixels
    to_picture: Points
    """`(2, 3)`: from pixels of the crop to pixels of the picture."""

    def back(self, points: Points) -> Points:
        """`(N, 2)` points of the crop as points of the picture."""
        return np.asarray(points @ self.to_picture[:, :2].T + self.to_picture[:, 2], np.float64)


def cut(
    picture: Pixels,
    centre: tuple[float, float],
    side: tuple[float, float],
    size_px: tuple[int, int],
    angle_rad: float = 0.0,
    *,
    mirrored: bool = False,
) -> Crop:
    """Cut a rectangle out of a picture.

    Args:
        picture: `(H, W, 3)` or `(H, W)`.
        centre: of the rectangle, x and y.
        side: its width and height in pixels of the picture.
        size_px: width and height of the crop.
        angle_rad: how the rectangle is turned, clockwise as the picture is seen.
        mirrored: whether left and right are exchanged.
    """
    x_scale, y_scale = side[0] / size_px[0], side[1] / size_px[1]
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    sign = -1.0 if mirrored else 1.0
    linear = np.array(
        [[cosine * x_scale * sign, -sine * y_scale], [sine * x_scale * sign, cosine * y_scale]]
    )
    middle = np.array([(size_px[0] - 1) / 2, (size_px[1] - 1) / 2])
    offset = np.asarray(centre) - linear @ middle
    to_picture = np.concatenate([linear, offset[:, None]], axis=1)
    shrink = max(x_scale, y_scale)
    source, matrix = picture, to_picture
    if shrink > 2:
        # What would be skipped between two samples is averaged first.
        source, matrix = _reduced(picture, centre, side, shrink, to_picture)
    pixels = cv2.warpAffine(
        source,
        matrix,
        size_px,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return Crop(np.asarray(pixels, np.uint8), to_picture)


def _reduced(
    picture: Pixels,
    centre: tuple[float, float],
    side: tuple[float, float],
    shrink: float,
    to_picture: Points,
) -> tuple[Pixels, Points]:
    """The part around the rectangle at a fraction of its size, and the mapping into it."""
    height, width = picture.shape[:2]
    reach = 0.75 * max(side)
    left, right = int(max(0, centre[0] - reach)), int(min(width, centre[0] + reach + 1))
    top, bottom = int(max(0, centre[1] - reach)), int(min(height, centre[1] + reach + 1))
    if right - left < 2 or bottom - top < 2:
        return picture, to_picture
    factor = 1 / shrink
    columns = max(1, round((right - left) * factor))
    rows = max(1, round((bottom - top) * factor))
    small = cv2.resize(
        picture[top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA
    )
    matrix = to_picture.copy()
    x_factor, y_factor = columns / (right - left), rows / (bottom - top)
    # Pixel centres: (x + 0.5) * factor - 0.5.
    matrix[0] *= x_factor
    matrix[1] *= y_factor
    matrix[0, 2] += (0.5 - left) * x_factor - 0.5
    matrix[1, 2] += (0.5 - top) * y_factor - 0.5
    return np.asarray(small, np.uint8), matrix


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    shared = max(0.0, width) * max(0.0, height)
    union = first.area + second.area - shared
    return shared / union if union > 0 else 0.0
