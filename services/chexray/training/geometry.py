"""Finds the lungs by rule and measures the chest, to teach the network its geometry.

The measures are rough, and the shipped network never sees them: they are auxiliary targets
that exist for every training picture, where a text-mined label may be missing or wrong.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Everything below is in pixels of a 224x224 picture.
FINE_PX, COARSE_PX = 1.5, 28.0
MARGIN_PX = 16
DARKER_BY = 3.0
LEAST_LUNG_PX2 = 400
LUNG_CENTRES_X_PX = (62.0, 162.0)
CENTRE_SPREAD_PX = 25.0


@dataclass(frozen=True, slots=True)
class ChestMeasures:
    """What was measured, or NaN throughout where two lungs were not found.

    Attributes:
        cardiothoracic_ratio: widest heart over widest thorax, about 0.3 to 0.7.
        lung_area: both lungs' part of the picture.
        asymmetry: difference of the two areas over their sum, -1 to 1, made positive.
        base_ratio: lung width in the lowest sixth of the lungs' height over the widest.
        contrast: how much darker the lungs are than what surrounds them, grey values.
    """

    cardiothoracic_ratio: float
    lung_area: float
    asymmetry: float
    base_ratio: float
    contrast: float

    def as_row(self) -> list[float]:
        """Return the measures in the order of the attributes."""
        return [
            self.cardiothoracic_ratio,
            self.lung_area,
            self.asymmetry,
            self.base_ratio,
            self.contrast,
        ]


NOT_FOUND = ChestMeasures(np.nan, np.nan, np.nan, np.nan, np.nan)


def find_lungs(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]] | None:
    """Find the two lungs as the large dark regions beside the midline.

    Args:
        pixels: `(224, 224)` grey, bone bright.

    Returns:
        Left and right mask in picture space, and the local contrast they were cut from;
        None where either lung was not found.
    """
    grey = pixels.astype(np.float64)
    local = ndimage.gaussian_filter(grey, FINE_PX) - ndimage.gaussian_filter(grey, COARSE_PX)
    dark = np.zeros(pixels.shape, bool)
    inner = slice(MARGIN_PX, -MARGIN_PX)
    dark[inner, inner] = local[inner, inner] < -DARKER_BY
    regions, count = ndimage.label(ndimage.binary_opening(dark, iterations=2))
    if count == 0:
        return None
    names = np.arange(1, count + 1)
    areas = np.asarray(ndimage.sum_labels(np.ones_like(regions), regions, names))
    centres_x = np.array([c[1] for c in ndimage.center_of_mass(dark, regions, names)])
    lungs = []
    for centre in LUNG_CENTRES_X_PX:
        likeness = areas * np.exp(-np.abs(centres_x - centre) / CENTRE_SPREAD_PX)
        best = int(np.argmax(likeness))
        if likeness[best] < LEAST_LUNG_PX2:
            return None
        lung = ndimage.binary_closing(regions == names[best], iterations=4)
        lungs.append(ndimage.binary_fill_holes(lung))
    return lungs[0], lungs[1], local


def measure_chest(pixels: NDArray[np.uint8]) -> ChestMeasures:
    """Measure one `(224, 224)` grey radiograph.

    The heart's width is the gap between the lungs in the lower half of their height, and the
    thorax's width the distance of their outer edges: the cardiothoracic ratio of Danzer,
    "The cardiothoracic ratio: an index of cardiac enlargement", Am J Med Sci 157 (1919) 513.
    """
    found = find_lungs(pixels)
    if found is None:
        return NOT_FOUND
    left, right, local = found
    rows = np.flatnonzero(left.any(axis=1) & right.any(axis=1))
    if rows.size < 30:
        return NOT_FOUND
    outer_left = left[rows].argmax(axis=1)
    inner_left = left.shape[1] - 1 - left[rows, ::-1].argmax(axis=1)
    inner_right = right[rows].argmax(axis=1)
    outer_right = right.shape[1] - 1 - right[rows, ::-1].argmax(axis=1)
    gap, thorax = inner_right - inner_left, outer_right - outer_left
    widest = float(np.percentile(thorax, 95))
    lower = slice(int(rows.size * 0.45), int(rows.size * 0.9))
    widths = left[rows].sum(axis=1) + right[rows].sum(axis=1)
    area_left, area_right = float(left.sum()), float(right.sum())
    return ChestMeasures(
        cardiothoracic_ratio=float(np.percentile(gap[lower], 80)) / widest,
        lung_area=(area_left + area_right) / pixels.size,
        asymmetry=abs(area_left - area_right) / (area_left + area_right),
        base_ratio=float(widths[-rows.size // 6 :].mean() / np.percentile(widths, 95)),
        contrast=float(-local[left | right].mean()),
    )
