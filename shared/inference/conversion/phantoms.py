"""Synthetic pictures for the test vectors of converted networks.

They have the rough shape of a frontal radiograph and belong to nobody, so a package can carry them.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Height and width; taller, wider and square, so that crop and padding are proven too.
SIZES_PX = ((320, 272), (288, 352), (300, 300))


def phantom(number: int) -> NDArray[np.uint8]:
    """Two dark lungs beside a bright midline, with structure and noise; `(H, W)`, 0 to 255."""
    height, width = SIZES_PX[number % len(SIZES_PX)]
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    picture = 0.75 - 0.25 * np.hypot(rows, columns)
    for side in (-1, 1):
        centre = side * (0.4 + 0.04 * number)
        lung = np.exp(-(((columns - centre) / 0.28) ** 4) - ((rows + 0.05) / 0.62) ** 4)
        picture -= 0.5 * lung * (1 + 0.15 * np.sin(9 * rows + number))
    heart = np.exp(-(((columns - 0.12) / 0.22) ** 2) - ((rows - 0.35) / 0.3) ** 2)
    picture += 0.35 * heart + 0.03 * random.standard_normal((height, width))
    return np.asarray(np.clip(picture * 255, 0, 255), np.uint8)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
