"""Makes slides: pyramids in tiled TIFF, as scanners write them, with drawn tissue."""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from services.scancer.slides.geometry import Level, Reading, SlideFacts
from services.scancer.training.phantom import draw_glass, draw_tissue

TILE_PX = 256


def draw_slide(height_px: int = 1024, width_px: int = 1536) -> NDArray[np.uint8]:
    """Glass with one piece of tissue: its left half pale, its right half crowded with nuclei.

    At about one micrometre per pixel; the tissue lies in rows 256 to 768, columns 384 to 1152.
    """
    slide = draw_glass(height_px, width_px)
    slide[256:768, 384:768] = draw_tissue(512, 384, 1, nuclei_per_px=0.002)
    slide[256:768, 768:1152] = draw_tissue(512, 384, 2, nuclei_per_px=0.02)
    return slide


def write_pyramid(
    path: Path, pixels: NDArray[np.uint8], mpp_um: float | None = 0.97, levels: int = 3
) -> Path:
    """Write a pyramid: every level half as wide and high as the one before."""
    resolution = None if mpp_um is None else (10_000 / mpp_um, 10_000 / mpp_um)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                pixels,
                photometric="rgb",
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                resolution=resolution if level == 0 else None,
                resolutionunit="CENTIMETER" if resolution and level == 0 else None,
                subfiletype=1 if level else 0,
                metadata=None,
            )
            half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
            pixels = np.asarray(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA), np.uint8)
    return path


class ArraySlide:
    """An open slide in memory, with as many levels as a test wants; it counts what is read."""

    def __init__(self, pixels: NDArray[np.uint8], levels: int = 1) -> None:
        self._levels = [pixels]
        while len(self._levels) < levels:
            height, width = self._levels[-1].shape[:2]
            self._levels.append(
                np.asarray(
                    cv2.resize(
                        self._levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA
                    ),
                    np.uint8,
                )
            )
        self.read_pixels = 0
        self.largest_read = 0

    @property
    def facts(self) -> SlideFacts:
        """See `Slide`."""
        height, width = self._levels[0].shape[:2]
        levels = tuple(
            Level(level.shape[1], level.shape[0], float(2**number))
            for number, level in enumerate(self._levels)
        )
        return SlideFacts("array", width, height, 0.97, levels)

    async def read(self, reading: Reading) -> NDArray[np.uint8]:
        """See `Slide`."""
        size = reading.width_px * reading.height_px
        self.read_pixels += size
        self.largest_read = max(self.largest_read, size)
        level = self._levels[reading.level]
        down = 2**reading.level
        y, x = reading.y_px // down, reading.x_px // down
        piece = np.full((reading.height_px, reading.width_px, 3), 255, np.uint8)
        top, left = max(0, y), max(0, x)
        inside = level[
            top : max(top, y + reading.height_px), left : max(left, x + reading.width_px)
        ]
        piece[top - y : top - y + inside.shape[0], left - x : left - x + inside.shape[1]] = inside
        return piece
