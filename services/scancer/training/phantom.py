"""Draws what looks like stained tissue, so that test vectors and tests need nobody's slide."""

import cv2
import numpy as np
from numpy.typing import NDArray

#: Optical densities of red, green and blue per unit of dye.
#: Source: Ruifrok and Johnston, 2001.
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])


def draw_tissue(
    height_px: int, width_px: int, seed: int = 0, nuclei_per_px: float = 0.006
) -> NDArray[np.uint8]:
    """Pink tissue with blue nuclei of 6 to 9 px, as at one micrometre per pixel.

    Returns:
        `(height_px, width_px, 3)`, the same for the same seed.
    """
    random = np.random.default_rng(seed)
    fibres = cv2.GaussianBlur(random.random((height_px, width_px)), (0, 0), 2.0)
    eosin = 0.35 + 1.2 * (fibres - fibres.mean())
    nuclei = np.zeros((height_px, width_px), np.uint8)
    for _ in range(int(nuclei_per_px * height_px * width_px)):
        centre = (int(random.integers(width_px)), int(random.integers(height_px)))
        axes = (int(random.integers(3, 5)), int(random.integers(3, 5)))
        cv2.ellipse(nuclei, centre, axes, float(random.integers(180)), 0, 360, 255, -1, cv2.LINE_AA)
    chromatin = cv2.GaussianBlur(random.random((height_px, width_px)), (0, 0), 0.6)
    haematoxylin = 0.9 * (nuclei / 255.0) * (0.2 + 1.6 * chromatin)
    density = haematoxylin[..., None] * HAEMATOXYLIN + eosin[..., None].clip(0) * EOSIN
    grain = random.normal(0, 0.03, (height_px, width_px, 1))
    return np.asarray((245 * np.exp(-(density + grain))).clip(0, 255), np.uint8)


def draw_glass(height_px: int, width_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Bare glass: almost white, with the noise of a camera."""
    random = np.random.default_rng(seed)
    return np.asarray(random.normal(243, 1.5, (height_px, width_px, 3)).clip(0, 255), np.uint8)


def vector_pictures() -> list[NDArray[np.uint8]]:
    """The pictures of the package's test vectors.

    Tissue with few and with many nuclei, half a patch of glass, a larger picture that has to be
    shrunk, and a ramp: they differ in what the network looks at, in size and in colour, so that a
    wrong resize, normalisation or order of channels shows.
    """
    half = np.hstack([draw_tissue(96, 48, 3), draw_glass(96, 48, 3)])
    ramp = np.add.outer(np.arange(96), np.arange(96)) * 255 // 190
    colours = np.stack([ramp, 255 - ramp, np.full_like(ramp, 128)], axis=2)
    return [
        draw_tissue(96, 96, 1, nuclei_per_px=0.002),
        draw_tissue(96, 96, 2, nuclei_per_px=0.015),
        half,
        draw_tissue(144, 160, 4, nuclei_per_px=0.008),
        np.asarray(colours, np.uint8),
    ]
