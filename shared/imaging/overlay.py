"""A heat map laid over the picture that it explains."""

import cv2
import numpy as np
from numpy.typing import NDArray


def overlay(
    pixels: NDArray[np.uint8],
    heat: NDArray[np.floating],
    *,
    max_side_px: int = 1024,
    strength: float = 0.55,
) -> NDArray[np.uint8]:
    """Colour a picture where the heat map is hot, and leave it gray where it is cold.

    The opacity grows with the heat, so that the anatomy stays visible everywhere. The colours are
    OpenCV's Turbo: its hot end, red, stands out from both dark lungs and bright bone, where maps
    that end in pale yellow vanish.

    Args:
        pixels: `(H, W)` gray or `(H, W, 3)` RGB.
        heat: `(h, w)`, 0 (cold) to 1 (hot), over the whole picture, of any aspect.
        max_side_px: longest side of the result; smaller pictures are not enlarged.
        strength: opacity where the heat is 1.

    Returns:
        `(H', W', 3)` RGB in the picture's aspect.

    Raises:
        ValueError: an array is empty or has other axes, or the heat is not finite.
    """
    if pixels.ndim not in (2, 3) or heat.ndim != 2 or pixels.size == 0 or heat.size == 0:
        raise ValueError("An overlay needs a picture and a two-dimensional heat map.")
    if not np.isfinite(heat).all():
        raise ValueError("The heat map holds values that are not numbers.")
    height_px, width_px = pixels.shape[:2]
    scale = min(1.0, max_side_px / max(height_px, width_px))
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    rgb = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB) if small.ndim == 2 else small

    smooth = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    smooth = np.clip(smooth, 0.0, 1.0)
    levels = np.rint(smooth * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    opacity = (strength * smooth)[..., np.newaxis]
    blended = rgb.astype(np.float32) * (1 - opacity) + colours.astype(np.float32) * opacity
    result: NDArray[np.uint8] = np.rint(blended).astype(np.uint8)
    return result
