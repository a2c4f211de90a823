"""A face brought to the place that ISO/IEC 29794-5's capture measures look at.

Source:
    ISO/IEC 29794-5 and OFIQ 1.0.3: a similarity from five points to fixed places in 616 x 616 px,
    the hull of the landmarks drawn at 224 px, distances between rounded points.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.face.landmarks import Landmarks

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

SIDE_PX = 616
_TARGETS = np.array([[251, 272], [364, 272], [308, 336], [262, 402], [355, 402]], np.float32)
_HULL_PX = 224
CHIN, NOSE = 16, 54
_MOUTH_RIGHT, _MOUTH_LEFT = 76, 82
_MOUTH_MIDDLE = (90, 94)


@dataclass(frozen=True, slots=True)
class Aligned:
    """A portrait with its face at the fixed place.

    Attributes:
        rgb: `(616, 616, 3)`; black outside the picture.
        points: `(98, 2)`: whole pixels of `rgb`.
        matrix: `(2, 3)`: from the portrait to `rgb`.
        hull: `(616, 616)`: True on the face.
    """

    rgb: Pixels
    points: Points
    matrix: Points
    hull: NDArray[np.bool_]


def rounded_points(landmarks: Landmarks) -> Points:
    """The 98 points as the reference has them: whole pixels."""
    return np.floor(landmarks.points + 0.5)


def eye_centres(points: Points) -> tuple[Points, Points]:
    """Rounded middles of the corners of the eye on the picture's left and of the other one."""
    return np.floor((points[60] + points[64]) / 2 + 0.5), np.floor(
        (points[68] + points[72]) / 2 + 0.5
    )


def head_length(points: Points) -> float:
    """T: from the middle between the eyes to the chin."""
    first, second = eye_centres(points)
    return float(np.hypot(*((first + second) / 2 - points[CHIN])))


def align(rgb: Pixels, landmarks: Landmarks) -> Aligned | None:
    """Bring the face to its place; None where its points span nothing."""
    points = rounded_points(landmarks)
    first, second = eye_centres(points)
    sources = np.stack(
        [first, second, points[NOSE], points[_MOUTH_RIGHT], points[_MOUTH_LEFT]]
    ).astype(np.float32)
    if float(np.ptp(sources, axis=0).min()) < 2:
        return None
    matrix, _ = cv2.estimateAffinePartial2D(sources, _TARGETS, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    moved = cv2.warpAffine(rgb, matrix, (SIDE_PX, SIDE_PX))
    aligned = np.floor(points @ matrix[:, :2].T + matrix[:, 2] + 0.5)
    hull = face_hull(aligned, SIDE_PX, SIDE_PX)
    if not hull.any():
        return None
    return Aligned(np.asarray(moved, np.uint8), aligned, np.asarray(matrix, np.float64), hull)


def face_hull(points: Points, height_px: int, width_px: int) -> NDArray[np.bool_]:
    """The convex hull of the points, drawn at 224 px and resized to its place, nearest pixel."""
    hull = cv2.convexHull(points.astype(np.int32)).reshape(-1, 2)
    left, top, width, height = cv2.boundingRect(hull)
    upper, lower = int(top - height * 0.05), int(top + height * 1.05)
    first = int(left + width / 2 - (lower - upper) / 2)
    last = int(left + width / 2 + (lower - upper) / 2)
    whole = np.zeros((height_px, width_px), np.bool_)
    if lower - upper < 2 or last - first < 2:
        return whole
    relative = (hull - [first, upper]) / (lower - upper) * _HULL_PX
    drawn = np.zeros((_HULL_PX, _HULL_PX), np.uint8)
    cv2.fillConvexPoly(drawn, np.trunc(relative).astype(np.int32), 1)
    resized = cv2.resize(drawn, (last - first, lower - upper), interpolation=cv2.INTER_NEAREST)
    inner_top, inner_left = max(0, upper), max(0, first)
    inner_bottom, inner_right = min(height_px, lower), min(width_px, last)
    if inner_top < inner_bottom and inner_left < inner_right:
        whole[inner_top:inner_bottom, inner_left:inner_right] = (
            resized[
                inner_top - upper : inner_bottom - upper, inner_left - first : inner_right - first
            ]
            > 0
        )
    return whole


def cheek_squares(points: Points) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Squares of 0.3 eye distances half way between eyes and mouth: picture's left, then right."""
    first, second = eye_centres(points)
    side = int(0.3 * float(np.hypot(*(second - first))))
    mouth = np.floor(points[list(_MOUTH_MIDDLE)].mean(axis=0) + 0.5)
    middle = np.floor((first + second) / 2 + 0.5)
    drop = int(float(np.hypot(*(middle - mouth))) / 2)
    return (
        _square(int(first[0]), int(first[1]) + drop, side),
        _square(int(second[0]) - side, int(second[1]) + drop, side),
    )


def _square(left: int, top: int, side: int) -> tuple[slice, slice]:
    return slice(max(0, top), max(0, top + side)), slice(max(0, left), max(0, left + side))
