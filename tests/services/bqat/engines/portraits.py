"""A face drawn from its 98 landmarks."""

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def landmarks(
    centre: tuple[float, float] = (308.0, 320.0), scale: float = 1.0, turn_deg: float = 0.0
) -> Points:
    """The 98 points of a level, frontal face: eyes 113 apart, 130 from the eyes to the mouth.

    Args:
        centre: between the eyes.
        scale: of all distances.
        turn_deg: clockwise as seen.
    """
    points = np.zeros((98, 2))
    angles = np.radians(np.linspace(180, 0, 33))
    # From temple to temple below the eyes' line; the chin (16) is 190 below it.
    points[:33] = np.stack([120 * np.cos(angles), 190 * np.sin(angles)], axis=1)
    for start, middle in ((33, -56.5), (42, 56.5)):
        points[start : start + 9] = [(middle - 32 + 8 * step, -35) for step in range(9)]
    points[51:55] = [(0, -5), (0, 20), (0, 45), (0, 64)]
    points[55:60] = [(-20, 75), (-10, 80), (0, 82), (10, 80), (20, 75)]
    for start, middle in ((60, -56.5), (68, 56.5)):
        points[start : start + 8] = [
            (middle - 20, 0),
            (middle - 10, -8),
            (middle, -10),
            (middle + 10, -8),
            (middle + 20, 0),
            (middle + 10, 8),
            (middle, 10),
            (middle - 10, 8),
        ]
    points[76:88] = [
        (46 * np.cos(a), 130 + 16 * np.sin(a)) for a in np.radians(np.arange(180, 540, 30))
    ]
    points[88:96] = [
        (-36, 130),
        (-18, 128),
        (0, 127),
        (18, 128),
        (36, 130),
        (18, 132),
        (0, 133),
        (-18, 132),
    ]
    points[96:98] = [(-56.5, 0), (56.5, 0)]
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(scale * points @ turn.T + centre, np.float64)


def portrait(points: Points, size: tuple[int, int] = (616, 616)) -> Pixels:
    """RGB: skin with eyes, brows, nose and mouth on a plain ground.

    Args:
        points: of the face.
        size: height and width.
    """
    picture = np.full((*size, 3), (205, 208, 212), np.uint8)
    outline = points[:33]
    brow = points[[33, 50]].mean(axis=0)
    eyes = points[[60, 64, 68, 72]].mean(axis=0)
    top = eyes + 1.3 * (brow - eyes) - 0.6 * (points[16] - eyes)
    hull = cv2.convexHull(np.concatenate([outline, [top], points[33:51]]).astype(np.int32))
    cv2.fillConvexPoly(picture, hull, (205, 160, 135))
    for start, stop in ((60, 68), (68, 76)):
        cv2.fillConvexPoly(picture, points[start:stop].astype(np.int32), (240, 238, 235))
    for pupil, corner in ((points[96], points[60]), (points[97], points[68])):
        radius = max(2, int(0.4 * float(np.hypot(*(pupil - corner)))))
        cv2.circle(picture, tuple(int(place) for place in pupil), radius, (40, 28, 25), -1)
    for start in (33, 42):
        cv2.polylines(picture, [points[start : start + 9].astype(np.int32)], False, (70, 50, 40), 6)
    cv2.polylines(picture, [points[51:55].astype(np.int32)], False, (190, 140, 118), 3)
    cv2.fillPoly(picture, [points[76:88].astype(np.int32)], (160, 80, 80))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)
