"""Pixels to files that a browser shows, with no metadata in them."""

import cv2
import numpy as np
from numpy.typing import NDArray

# On radiographs and overlays this is as small as zlib's usual strategy and a third faster.
_PNG_OPTIONS = [
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
]


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode `(H, W)` gray, `(H, W, 3)` RGB or `(H, W, 4)` RGBA losslessly."""
    return _encode(".png", pixels, _PNG_OPTIONS)


def to_jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode `(H, W)` gray or `(H, W, 3)` RGB; `quality` is 1 to 100."""
    return _encode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, pixels: NDArray[np.uint8], options: list[int]) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError("Only pixels of 8 bits are encoded: gray, RGB or RGBA.")
    if pixels.ndim == 2:
        image_bgr = pixels
    elif pixels.shape[2] == 4:
        image_bgr = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA), np.uint8)
    else:
        image_bgr = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    is_encoded, encoded = cv2.imencode(suffix, image_bgr, options)
    if not is_encoded:
        raise ValueError(f"The picture does not fit {suffix[1:].upper()}.")
    return bytes(encoded)
