"""Drawings that the gate takes for frontal chest radiographs; nobody's body is in them."""

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_radiograph(side_px: int = 1024, seed: int = 1) -> NDArray[np.uint8]:
    """Two dark lungs beside a bright midline over a bright abdomen, with ribs and noise.

    Args:
        side_px: width and height.
        seed: makes drawings differ a little, as bodies do.

    Returns:
        `(side_px, side_px)` gray, bone is bright.
    """
    random = np.random.default_rng(seed)
    y, x = (np.mgrid[0:side_px, 0:side_px].astype(np.float32) + 0.5) / side_px
    x = x + random.uniform(-0.02, 0.02)
    y = y + random.uniform(-0.02, 0.02)
    body = _inside(x, y, 0.5, 0.66, 0.47, 0.62, sharpness=7)
    neck = _inside(x, y, 0.5, 0.05, 0.13, 0.20, sharpness=7)
    levels = 25 + 120 * np.maximum(body, neck)
    lungs = np.maximum(
        _inside(x, y, 0.31, 0.44, 0.155, 0.31, sharpness=5),
        _inside(x, y, 0.69, 0.42, 0.145, 0.30, sharpness=5),
    )
    levels -= 85 * lungs
    ribs = np.sin((y + 0.35 * np.abs(x - 0.5) ** 1.2) * 62) * lungs
    levels += 7 * ribs
    levels += 45 * np.exp(-(((x - 0.5) / 0.05) ** 2)) * (y < 0.95)
    levels += 55 * _inside(x, y, 0.55, 0.60, 0.15, 0.15, sharpness=5)
    levels += 60 / (1 + np.exp(-(y - 0.72) * 45)) * body
    levels += random.normal(0, 2.5, levels.shape)
    return np.clip(cv2.GaussianBlur(levels, (0, 0), side_px / 700), 0, 255).astype(np.uint8)


def _inside(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    centre_x: float,
    centre_y: float,
    half_width: float,
    half_height: float,
    *,
    sharpness: float,
) -> NDArray[np.float32]:
    """1 inside a rounded box, 0 outside, with a soft edge."""
    distance = ((np.abs(x - centre_x) / half_width) ** 2.6) + (
        (np.abs(y - centre_y) / half_height) ** 2.6
    )
    steps = np.clip((distance - 1) * sharpness, -30, 30)
    return np.asarray(1 / (1 + np.exp(steps)), np.float32)
