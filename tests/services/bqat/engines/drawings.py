"""Biometric samples drawn from formulas, so that what must be measured is known."""

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]


def to_bytes(pixels: NDArray[np.uint8], kind: str = ".png", quality: int | None = None) -> bytes:
    """An encoded picture; RGB in."""
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    written, encoded = cv2.imencode(kind, pixels, options)
    assert written
    return bytes(encoded.tobytes())


def stripes(height: int, width: int, period_px: float, angle_rad: float = 0.0) -> Gray:
    """Ridges and valleys of equal width; the angle is that of their normal."""
    y, x = np.mgrid[0:height, 0:width]
    along = x * np.cos(angle_rad) + y * np.sin(angle_rad)
    return np.asarray(np.rint(127.5 + 100 * np.cos(2 * np.pi * along / period_px)), np.uint8)


def finger(period_px: float = 9.0, noise: float = 8.0, seed: int = 0) -> Gray:
    """Concentric ridges in an ellipse on white, `(480, 400)`."""
    y, x = np.mgrid[0:480, 0:400]
    ridges = 127 + 100 * np.cos(2 * np.pi * np.hypot(x - 200, y - 300) / period_px)
    inside = ((x - 200) / 170) ** 2 + ((y - 240) / 210) ** 2 < 1
    grain = np.random.default_rng(seed).normal(0, noise, inside.shape) * inside
    return np.asarray(np.clip(np.where(inside, ridges, 255) + grain, 0, 255), np.uint8)


def eye(
    *,
    width: int = 640,
    height: int = 480,
    centre: tuple[float, float] = (320, 240),
    iris_radius: float = 110,
    pupil_radius: float = 45,
    pupil_shift: tuple[float, float] = (0, 0),
    iris_gray: float = 110,
    sclera_gray: float = 185,
    lid_px: float | None = None,
    blur: float = 1.2,
) -> Gray:
    """A textured iris with a pupil, a reflection and perhaps an upper lid."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down = x - centre[0], y - centre[1]
    distance, angle = np.hypot(across, down), np.arctan2(down, across)
    texture = 12 * np.sin(23 * angle + distance / 5) + 8 * np.sin(distance / 2.2)
    picture = np.where(distance < iris_radius, iris_gray + texture, sclera_gray)
    pupil = np.hypot(across - pupil_shift[0], down - pupil_shift[1]) < pupil_radius
    picture = np.where(pupil, 28, picture)
    picture = np.where(np.hypot(across - 10, down - 8) < 6, 250, picture)
    if lid_px is not None:
        edge = -lid_px + (across / (1.6 * iris_radius)) ** 2 * iris_radius * 0.6
        picture = np.where(down < edge, 235, picture)
    grain = np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), blur) + grain, 0, 255).astype(np.uint8)


def wav(samples: NDArray[np.float64], rate_hz: int = 16_000) -> bytes:
    """One channel of 16 bits; what is beyond full scale is clipped."""
    data = (np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
