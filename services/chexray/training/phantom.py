"""Draws chest-like pictures, so that test vectors need nobody's radiograph."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 256


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.float64]:
    """Return a soft-edged ellipse, `(256, 256)` in [0, 1]; lengths are parts of the side."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / (SIDE_PX - 1.0)
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return np.clip((1.0 - distance) / 0.12 + 0.5, 0.0, 1.0)


def chest_phantom(heart_radius: float, effusion: float) -> Image.Image:
    """Draw a frontal chest: body, two lungs, spine, heart, ribs, and fluid at one base.

    Args:
        heart_radius: horizontal half-axis of the heart, a part of the picture's side.
        effusion: how white the lower right corner of the lung field is, 0 to 1.

    Returns:
        A 256x256 grey picture, bone bright; the same bytes on every machine.
    """
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / (SIDE_PX - 1.0)
    body = ellipse((0.5, 0.62), (0.49, 0.62))
    lungs = np.maximum(ellipse((0.30, 0.46), (0.155, 0.32)), ellipse((0.70, 0.46), (0.155, 0.32)))
    spine = np.clip(1.0 - np.abs(x - 0.5) / 0.055, 0.0, 1.0) * body
    heart = ellipse((0.55, 0.60), (heart_radius, 0.17))
    ribs = lungs * np.clip(np.sin((y + 0.55 * np.abs(x - 0.5)) * 62.0), 0.0, 1.0) ** 4
    fluid = lungs * np.clip((y - 0.58) / 0.12, 0.0, 1.0) * (x > 0.5)
    density = 0.08 + 0.62 * body - 0.46 * lungs + 0.14 * ribs + 0.16 * spine
    density = np.maximum(density, 0.72 * heart) + effusion * 0.45 * fluid
    grain = 0.012 * np.sin(x * 331.0) * np.sin(y * 293.0)
    return Image.fromarray((np.clip(density + grain, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def vector_pictures() -> list[Image.Image]:
    """Return the pictures of the package's test vectors: three chests, a ramp, a hazy chest.

    They differ in what the network looks at, and the last two in size, aspect and contrast, so
    that a wrong resize or normalisation shows.
    """
    ramp = np.add.outer(np.arange(200), np.arange(320)) * 255 // 518
    hazy = np.asarray(chest_phantom(heart_radius=0.2, effusion=0.6)) * 0.45 + 90.0
    return [
        chest_phantom(heart_radius=0.13, effusion=0.0),
        chest_phantom(heart_radius=0.24, effusion=0.0),
        chest_phantom(heart_radius=0.15, effusion=1.0),
        Image.fromarray(ramp.astype(np.uint8)),
        Image.fromarray(hazy.astype(np.uint8)[16:240]),
    ]
