"""Lesion masks between arrays and the packed bits that are kept."""

import numpy as np
from numpy.typing import NDArray

from services.netra.domain import LesionMask


def to_mask(pixels: NDArray[np.bool_]) -> LesionMask:
    """Pack a mask.

    Args:
        pixels: `(H, W)`, true where the lesion is.
    """
    rows, columns = pixels.shape
    return LesionMask(rows, columns, np.packbits(pixels.ravel()).tobytes())


def to_pixels(mask: LesionMask) -> NDArray[np.bool_]:
    """Unpack a mask to `(H, W)`."""
    count = mask.rows * mask.columns
    bits = np.unpackbits(np.frombuffer(mask.bits, np.uint8), count=count)
    return bits.astype(np.bool_).reshape(mask.rows, mask.columns)
