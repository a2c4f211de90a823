"""The iris quality metrics of ISO/IEC 29794-6, and how BIQT-Iris 0.4 differs from them.

Source:
    ISO/IEC 29794-6:2015, clause 6.2; mitre/biqt-iris for its deviations, each of which is
    selected by `compat` and named where it is made.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.iris.segmentation import Circle, Eye, ring_mask

Gray = NDArray[np.uint8]
Real = NDArray[np.float64]

_COEFFICIENTS = 17
# A Laplacian of a Gaussian of 9 x 9 px; the outer rows first, symmetric both ways.
_LAPLACIAN = np.array(
    [
        [0, 1, 1, 2, 2, 2, 1, 1, 0],
        [1, 2, 4, 5, 5, 5, 4, 2, 1],
        [1, 4, 5, 3, 0, 3, 5, 4, 1],
        [2, 5, 3, -12, -24, -12, 3, 5, 2],
        [2, 5, 0, -24, -40, -24, 0, 5, 2],
        [2, 5, 3, -12, -24, -12, 3, 5, 2],
        [1, 4, 5, 3, 0, 3, 5, 4, 1],
        [1, 2, 4, 5, 5, 5, 4, 2, 1],
        [0, 1, 1, 2, 2, 2, 1, 1, 0],
    ],
    np.float64,
)
_SHARPNESS_HALF = 180_000.0
_EVERY_PX, _BORDER_PX = 4, 4


@dataclass(frozen=True, slots=True)
class Levels:
    """Median grays of what is not covered."""

    pupil: float
    iris: float
    sclera: float
    around: float
    """The iris as the pupil contrast means it: between 1.1 and 1.2 pupil radii."""


def levels(gray: Gray, eye: Eye, *, compat: bool) -> Levels:
    """Medians inside the pupil, the iris, the sclera, and of the iris around the pupil.

    BIQT-Iris takes the last one between 1.1 and 1.2 radii of the iris, which is the sclera.
    """
    pupil, iris = eye.pupil, eye.iris
    free = ~eye.covered
    close = iris if compat else pupil
    hole = None if compat else pupil
    return Levels(
        _median(gray, ring_mask(gray.shape, pupil, 0, 0.8 * pupil.radius)),
        _median(
            gray,
            free & ring_mask(gray.shape, iris, (pupil.radius + iris.radius) / 2, 0.9 * iris.radius),
        ),
        _median(gray, ring_mask(gray.shape, iris, 1.1 * iris.radius, 1.2 * iris.radius)),
        _median(
            gray,
            free & ring_mask(gray.shape, close, 1.1 * close.radius, 1.2 * close.radius, hole),
        ),
    )


def _median(gray: Gray, mask: NDArray[np.bool_]) -> float:
    return float(np.median(gray[mask])) if mask.any() else 0.0


def sclera_contrast(found: Levels) -> float:
    """6.2.2: how the sclera differs from the iris, the pupil being black, 0 to 100."""
    span = found.sclera + found.iris - 2 * found.pupil
    if span <= 0 or found.pupil >= found.iris:
        return 0.0
    return max(0.0, 100 * (found.sclera - found.iris) / span)


def pupil_contrast(found: Levels) -> float:
    """6.2.3: Weber's ratio of iris and pupil, bent to 0 to 100."""
    weber = (found.around - found.pupil) / (20 + found.pupil)
    return max(0.0, 100 * weber / (0.75 + weber)) if weber > -0.75 else 0.0


def boundary_circularity(radii: Real) -> float:
    """6.2.4: 100 less the energy of the first coefficients of the boundary's Fourier series.

    Args:
        radii: along rays, as a share of the mean radius in percent; 0 where none was found.
    """
    seen = radii[radii > 0]
    if not len(seen):
        return 0.0
    spectrum = np.fft.fft(seen)
    energy = float((np.abs(spectrum[1:_COEFFICIENTS]) ** 2).sum()) / len(seen)
    return max(0.0, 100 - energy)


def greyscale_utilisation(values: Gray) -> float:
    """6.2.5: the entropy of the grays in bits, 0 to 8; 6 or more are expected."""
    counts = np.bincount(values.reshape(-1), minlength=256)
    shares = counts[counts > 0] / max(1, values.size)
    return abs(float((shares * np.log2(shares)).sum()))


def pupil_ratio(eye: Eye) -> float:
    """6.2.7: the pupil's radius as a percentage of the iris's; 20 to 70 are expected."""
    return 100 * eye.pupil.radius / eye.iris.radius


def concentricity(eye: Eye) -> float:
    """6.2.8: 100 where both centres are one, 0 where they are an iris radius apart."""
    apart = float(np.hypot(eye.pupil.x - eye.iris.x, eye.pupil.y - eye.iris.y))
    return 100 * max(0.0, 1 - apart / eye.iris.radius)


def margin_adequacy(iris: Circle, width_px: int, height_px: int, *, compat: bool) -> float:
    """6.2.9: 100 where there are 0.6 radii beside the iris and 0.2 above and below.

    BIQT-Iris adds the radius at the right and at the bottom instead of taking it off, so that an
    iris cut by those edges scores 100.
    """
    sign = 1 if compat else -1
    margins = (
        (iris.x - iris.radius) / (0.6 * iris.radius),
        (width_px - iris.x + sign * iris.radius) / (0.6 * iris.radius),
        (iris.y - iris.radius) / (0.2 * iris.radius),
        (height_px - iris.y + sign * iris.radius) / (0.2 * iris.radius),
    )
    return float(100 * min(1.0, max(0.0, min(margins))))


def sharpness(gray: Gray, *, compat: bool) -> float:
    """6.2.10: the power of a Laplacian at every fourth pixel, bent to 0 to 100.

    BIQT-Iris squares the sum of each row's responses, not each response.
    """
    height, width = gray.shape
    if min(height, width) < 3 * _BORDER_PX:
        return 0.0
    filtered = cv2.filter2D(gray.astype(np.float64), cv2.CV_64F, _LAPLACIAN)
    responses = filtered[_BORDER_PX : height - _BORDER_PX : _EVERY_PX][
        :, _BORDER_PX : width - _BORDER_PX : _EVERY_PX
    ]
    squares = responses.sum(axis=1) ** 2 if compat else responses**2
    power = float(squares.sum()) / (width * height)
    return float(100 * power**2 / (power**2 + _SHARPNESS_HALF**2))


def usable_area(eye: Eye) -> float:
    """6.2.1: the percentage of the iris, the pupil left out, that nothing covers."""
    shape = eye.covered.shape
    ring = ring_mask(shape, eye.iris, eye.pupil.radius, eye.iris.radius, eye.pupil)
    whole = np.pi * (eye.iris.radius**2 - eye.pupil.radius**2)
    seen = int((ring & ~eye.covered).sum())
    return min(100.0, 100 * seen / max(1.0, whole))
