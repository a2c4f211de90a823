"""Draws levelled fields of view with vessels and lesions, for test vectors: nobody's eye."""

import cv2
import numpy as np
from numpy.typing import NDArray

_GREY = 128
_VESSEL, _RED_LESION = (120, 84, 92), (112, 62, 88)
_HARD_EXUDATE, _SOFT_EXUDATE, _DISC = (190, 206, 150), (164, 172, 160), (180, 190, 170)


def draw_window(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Draw one window.

    Args:
        size: height and width.
        seed: which picture.

    Returns:
        `(height, width, 3)` RGB as `levelled` makes it: 128 is the neighbourhood's mean.
    """
    random = np.random.default_rng(seed)
    height, width = size
    window = np.full((height, width, 3), _GREY, np.uint8)
    for _ in range(7):
        start = random.uniform(0, [width, height])
        turns = np.cumsum(random.normal(0, 0.25, 30)) + random.uniform(0, 2 * np.pi)
        steps = 28 * np.column_stack([np.cos(turns), np.sin(turns)])
        line = np.round(start + np.cumsum(steps, axis=0)).astype(np.int32)
        thickness = int(random.integers(2, 9))
        cv2.polylines(window, [line], False, _VESSEL, thickness, cv2.LINE_AA)
    spots = ((_RED_LESION, 12, 3, 5), (_RED_LESION, 5, 9, 22), (_HARD_EXUDATE, 14, 3, 9))
    for colour, count, smallest, largest in (*spots, (_SOFT_EXUDATE, 2, 18, 30)):
        for _ in range(count):
            x, y = (int(v) for v in random.integers(0, [width, height]))
            axes = tuple(int(v) for v in random.integers(smallest, largest, 2))
            cv2.ellipse(window, (x, y), axes, random.uniform(0, 180), 0, 360, colour, -1)
    disc = tuple(int(v) for v in random.integers(0, [width, height]))
    cv2.circle(window, disc, 85, _DISC, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(window, (0, 0), 1.2), np.uint8)
