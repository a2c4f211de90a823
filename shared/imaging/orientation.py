"""Turns pixels upright by their EXIF orientation."""

import numpy as np
from numpy.typing import NDArray


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """`pixels` as they are meant to be seen.

    Args:
        pixels: `(H, W)` or `(H, W, 3)`, as stored.
        orientation: EXIF orientation, 1 to 8; 5 to 8 exchange the sides.

    Source:
        EXIF 2.32 (CIPA DC-008), tag 274: where the stored row 0 and column 0 belong.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
