"""The native quality measures of NFIQ 2 that need neither minutiae nor a trained forest.

Source:
    NIST NFIQ 2.3 (public domain), quality modules FDA, LCS, OCL, OF, RVU, Contrast; ISO/IEC
    29794-4. Each measure is a list of one figure per block, summarised as a histogram of ten bins,
    mean and standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.fingerprint.blocks import (
    BLOCK_PX,
    Gray,
    Region,
    covariance,
    lying_strip,
    upright_strip,
)

Real = NDArray[np.float64]

#: Lower bounds of the second to the tenth bin.
HISTOGRAM_BOUNDS: dict[str, tuple[float, ...]] = {
    "FDA": (0.268, 0.304, 0.33, 0.355, 0.38, 0.407, 0.44, 0.5, 1.0),
    "LCS": (0.0, 0.7, 0.74, 0.77, 0.79, 0.81, 0.83, 0.85, 0.87),
    "OCL": (0.337, 0.479, 0.579, 0.655, 0.716, 0.766, 0.81, 0.852, 0.898),
    "OF": (0.01715, 0.035, 0.0557, 0.081, 0.115, 0.1718, 0.2569, 0.4758, 0.748),
    "RVUP": (0.5, 0.667, 0.8, 1.0, 1.25, 1.5, 2.0, 24.0, 30.0),
}
#: Orientations that differ by less than this many degrees count as one direction.
FLOW_MINIMUM_DEG = 4.0
_WIDEST_PX = 20.0
_RIDGE_WIDTHS_PX = (3.0, 10.0)
_VALLEY_WIDTHS_PX = (2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Profile1D:
    """The gray profile across upright ridges.

    Attributes:
        threshold: `(32,)`: the straight line fitted to the profile.
        is_ridge: `(32,)`: where the profile is darker than that line.
    """

    threshold: Real
    is_ridge: NDArray[np.bool_]


def summarise(name: str, figures: Sequence[float]) -> dict[str, float]:
    """Histogram, mean and standard deviation of a measure's figures, under NFIQ 2's names."""
    array = np.asarray(figures, np.float64)
    bins = np.searchsorted(HISTOGRAM_BOUNDS[name], array, side="right")
    counts = np.bincount(bins, minlength=10)
    found: dict[str, float] = {
        f"{name}_Bin10_{place}": int(count) for place, count in enumerate(counts)
    }
    found[f"{name}_Bin10_Mean"] = float(array.mean())
    found[f"{name}_Bin10_StdDev"] = float(array.std())
    return found


def orientation_certainty(block: Gray) -> float | None:
    """How much of the gradients' energy lies along one axis, 0 to 1; None for a block of one gray.

    One minus the ratio of the eigenvalues of the gradients' covariance.
    """
    across, down, product = covariance(block)
    root = float(np.hypot(across - down, 2 * product))
    largest, smallest = (across + down + root) / 2, (across + down - root) / 2
    if largest == 0:
        return None
    return 1 - smallest / largest


def orientation_certainties(image: Gray) -> list[float]:
    """The orientation certainty of every whole block of the picture."""
    height, width = image.shape
    found = []
    for top in range(0, height - BLOCK_PX + 1, BLOCK_PX):
        for left in range(0, width - BLOCK_PX + 1, BLOCK_PX):
            certainty = orientation_certainty(image[top : top + BLOCK_PX, left : left + BLOCK_PX])
            if certainty is not None:
                found.append(certainty)
    return found


def profile_across(strip: Gray) -> Profile1D:
    """Ridges and valleys of a strip whose ridges run from top to bottom."""
    means = strip.mean(axis=0)
    place = np.arange(1, len(means) + 1, dtype=np.float64)
    centred = place - place.mean()
    slope = float((centred * (means - means.mean())).sum() / (centred * centred).sum())
    intercept = float(means.mean() - slope * place.mean())
    # NFIQ 2 rounds, so that platforms agree on profiles that lie on their line.
    threshold = place * round(slope, 10) + round(intercept, 10)
    return Profile1D(threshold, means < threshold)


def local_clarity(strip: Gray) -> float:
    """How clearly ridges and valleys differ, 0 to 1; 0 where their widths are no fingerprint's."""
    profile = profile_across(strip)
    ridge = profile.is_ridge
    changes = np.flatnonzero(ridge[1:] != ridge[:-1])
    if not len(changes):
        return 0.0
    widths = np.diff(changes, prepend=0).astype(np.float64)
    first, second = widths[0::2], widths[1::2]
    ridges, valleys = (first, second) if ridge[0] else (second, first)
    if not (_within(ridges, _RIDGE_WIDTHS_PX) and _within(valleys, _VALLEY_WIDTHS_PX)):
        return 0.0
    pixels = strip.astype(np.float64)
    too_dark = float((pixels[:, ~ridge] < profile.threshold[~ridge]).mean())
    too_bright = float((pixels[:, ridge] >= profile.threshold[ridge]).mean())
    return 1 - (too_dark + too_bright) / 2


def _within(widths: Real, bounds: tuple[float, float]) -> bool:
    """Whether the mean width lies within bounds.

    Widths are shares of the 20 px that the widest may have, summed before they are divided: on a
    bound the rounding of NFIQ 2's arithmetic decides.
    """
    mean = 0.0
    if len(widths):
        mean = float(sum((widths / _WIDEST_PX).tolist())) * (1 / len(widths))
    return bounds[0] / _WIDEST_PX <= mean <= bounds[1] / _WIDEST_PX


def ridge_valley_ratios(strip: Gray) -> list[float]:
    """Widths of whole ridges against those of the valleys beside them."""
    ridge = profile_across(strip).is_ridge
    changes = np.flatnonzero(ridge[1:-1] != ridge[:-2])
    if len(changes) < 2 or changes[-1] - changes[0] < 2:
        return []
    begins_with_ridge = int(ridge[changes[0] + 1])
    widths = np.diff(changes[1:])[::-1].astype(np.float64)
    ratios = widths[:-1] / widths[1:]
    ratios[begins_with_ridge::2] = 1 / ratios[begins_with_ridge::2]
    return [float(ratio) for ratio in ratios]


def frequency_strength(strip: Gray) -> float:
    """How much of the profile across lying ridges is one frequency, about 0 to 1."""
    amplitudes = np.abs(np.fft.fft(strip.mean(axis=1)))[1:]
    peak = int(np.argmax(amplitudes))
    if peak == 0 or peak + 1 >= len(amplitudes):
        return 1.0
    neighbours = float(amplitudes[peak - 1] + amplitudes[peak + 1])
    return (float(amplitudes[peak]) + 0.3 * neighbours) / float(
        amplitudes[: len(amplitudes) // 2].sum()
    )


def orientation_flow(grid: Sequence[Region]) -> list[float]:
    """How much the orientation of blocks inside the fingerprint differs from their neighbours'."""
    if not grid:
        return []
    rows = max(region.row for region in grid) + 1
    columns = max(region.column for region in grid) + 1
    angles = np.zeros((rows + 2, columns + 2))
    ridges = np.zeros((rows + 2, columns + 2), np.bool_)
    for region in grid:
        angles[region.row + 1, region.column + 1] = region.orientation
        ridges[region.row + 1, region.column + 1] = region.has_ridges
    total = np.zeros((rows, columns))
    inside = np.ones((rows, columns), np.bool_)
    centre = angles[1:-1, 1:-1]
    for down in range(3):
        for across in range(3):
            window = np.s_[down : down + rows, across : across + columns]
            difference = np.abs(centre - angles[window])
            total += np.minimum(difference, 2 * np.pi - difference)
            inside &= ridges[window]
    mean = total / 8
    least = np.radians(FLOW_MINIMUM_DEG)
    chosen = mean[(mean > least) & inside]
    return [float(figure) for figure in (chosen - least) / np.radians(90 - FLOW_MINIMUM_DEG)]


def contrast(image: Gray) -> dict[str, float]:
    """The mean of the blocks' means and the mean of all pixels, 0 to 255."""
    height, width = image.shape
    means = [
        float(image[top : top + BLOCK_PX, left : left + BLOCK_PX].mean())
        for top in range(0, height, BLOCK_PX)
        for left in range(0, width, BLOCK_PX)
    ]
    return {"MMB": float(np.mean(means)), "Mu": float(image.mean())}


def block_measures(grid: Sequence[Region]) -> dict[str, list[float]]:
    """Figures of every measure that looks at blocks with ridges."""
    foreground = [region for region in grid if region.has_ridges]
    ratios: list[float] = []
    for region in foreground:
        ratios += ridge_valley_ratios(upright_strip(region, padded=True))
    return {
        "FDA": [frequency_strength(lying_strip(region)) for region in foreground],
        "LCS": [local_clarity(upright_strip(region, padded=False)) for region in foreground],
        "OF": orientation_flow(grid),
        "RVUP": ratios,
    }
