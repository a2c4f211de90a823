"""Blocks of a fingerprint: which show ridges, which way these run, and blocks turned upright.

Source:
    NIST NFIQ 2.3 (a work of the United States government, public domain), quality modules, which
    follow ISO/IEC 29794-4. A local region is 32 x 32 px at 500 ppi; the part that is looked at
    with ridges upright is 32 x 16 px, so that it is cut from 36 x 36 px.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Real = NDArray[np.float64]

BLOCK_PX = 32
_LONG_HALF_PX, _SHORT_HALF_PX = 16, 8
_OFFSET_PX = 2
_PADDING_PX = 2
_STEPS_PER_PX = 1024
_RIDGE_DEVIATION = 0.1


@dataclass(frozen=True, slots=True)
class Region:
    """One block inside the border, with what is known of it.

    Attributes:
        row: its place in the grid of blocks.
        column: the same.
        surroundings: `(40, 40)`: the block and four pixels on each side, black outside the
            picture.
        orientation: of the normal to the ridges, in radians.
        has_ridges: whether the contrast of every part of it speaks for ridges.
    """

    row: int
    column: int
    surroundings: Gray
    orientation: float
    has_ridges: bool


def ridge_mask(image: Gray) -> NDArray[np.bool_]:
    """Where the standard deviation of a block exceeds a tenth of the picture's.

    Args:
        image: `(H, W)`.

    Returns:
        `(H, W)`; all False for a picture of one gray.
    """
    height, width = image.shape
    mask = np.zeros((height, width), np.bool_)
    deviation = float(image.std())
    if deviation == 0:
        return mask
    for top in range(0, height, BLOCK_PX):
        for left in range(0, width, BLOCK_PX):
            block = image[top : top + BLOCK_PX, left : left + BLOCK_PX]
            mask[top : top + BLOCK_PX, left : left + BLOCK_PX] = (
                float(block.std()) / deviation > _RIDGE_DEVIATION
            )
    return mask


def gradients(block: Gray) -> tuple[Real, Real]:
    """Differences across columns and across rows, central inside and one-sided at the edges."""
    real = block.astype(np.float64)
    down, across = np.zeros_like(real), np.zeros_like(real)
    if real.shape[0] > 1:
        down = np.asarray(np.gradient(real, axis=0), np.float64)
    if real.shape[1] > 1:
        across = np.asarray(np.gradient(real, axis=1), np.float64)
    return across, down


def covariance(block: Gray) -> tuple[float, float, float]:
    """Means of the squared differences across and down and of their product."""
    across, down = gradients(block)
    return (
        float(np.mean(across * across)),
        float(np.mean(down * down)),
        float(np.mean(across * down)),
    )


def orientation_of(block: Gray) -> float:
    """The angle of the normal to the ridges, -pi/2 to pi/2.

    The product term is not doubled, as in NFIQ 2; angles off the axes are therefore not exact.
    """
    across, down, product = covariance(block)
    return float(np.arctan2(product, across - down)) / 2


def regions(image: Gray, mask: NDArray[np.bool_]) -> Iterator[Region]:
    """Every block that has two pixels of picture around it, row by row."""
    height, width = image.shape
    framed = np.pad(image, _PADDING_PX)
    reach, whole = BLOCK_PX + _OFFSET_PX, BLOCK_PX + 2 * (_OFFSET_PX + _PADDING_PX)
    for row, top in enumerate(range(_OFFSET_PX, height - reach + 1, BLOCK_PX)):
        for column, left in enumerate(range(_OFFSET_PX, width - reach + 1, BLOCK_PX)):
            inside = np.s_[top : top + BLOCK_PX, left : left + BLOCK_PX]
            # The frame has moved everything by its two pixels.
            upper, first = top - _OFFSET_PX, left - _OFFSET_PX
            around = framed[upper : upper + whole, first : first + whole]
            yield Region(
                row, column, around, orientation_of(image[inside]), bool(mask[inside].all())
            )


def turned(source: Gray, angle: float, side_px: int) -> Gray:
    """The upper left `side_px` of a block turned by `angle` around its middle, nearest pixels.

    The places are those that OpenCV 4 computes, in steps of 1/1024 px, because the published
    figures of NFIQ 2 contain them; outside the block it is black.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    middle = source.shape[0] / 2
    shift_x = middle - cosine * middle + sine * middle
    shift_y = middle - sine * middle - cosine * middle
    steps = np.arange(side_px)
    across_x = np.rint(cosine * steps * _STEPS_PER_PX)
    across_y = np.rint(sine * steps * _STEPS_PER_PX)
    down_x = np.rint((-sine * steps + shift_x) * _STEPS_PER_PX) + _STEPS_PER_PX / 2
    down_y = np.rint((cosine * steps + shift_y) * _STEPS_PER_PX) + _STEPS_PER_PX / 2
    x = np.asarray((down_x[:, None] + across_x) // _STEPS_PER_PX, np.int64)
    y = np.asarray((down_y[:, None] + across_y) // _STEPS_PER_PX, np.int64)
    inside = (x >= 0) & (x < source.shape[1]) & (y >= 0) & (y < source.shape[0])
    found = source[y.clip(0, source.shape[0] - 1), x.clip(0, source.shape[1] - 1)]
    return np.where(inside, found, 0).astype(np.uint8)


def upright_strip(region: Region, *, padded: bool) -> Gray:
    """`(16, 32)`: the middle of the block with its ridges running from top to bottom.

    Args:
        region: the block.
        padded: whether it is turned with two more pixels on each side and cut as if it had none,
            which moves the middle by two pixels; NFIQ 2 does so for ridge valley uniformity.
    """
    return _middle(region, region.orientation, _SHORT_HALF_PX, _LONG_HALF_PX, padded=padded)


def lying_strip(region: Region) -> Gray:
    """`(32, 16)`: the middle of the block, padded, with its ridges from left to right."""
    angle = region.orientation + math.pi / 2
    return _middle(region, angle, _LONG_HALF_PX, _SHORT_HALF_PX, padded=True)


def _middle(region: Region, angle: float, rows: int, columns: int, *, padded: bool) -> Gray:
    inner = slice(_PADDING_PX, -_PADDING_PX)
    source = region.surroundings if padded else region.surroundings[inner, inner]
    side = BLOCK_PX + 2 * _OFFSET_PX
    block = turned(source, angle, side)
    middle = side // 2
    return block[middle - rows : middle + rows, middle - columns : middle + columns]


def without_white_frame(image: Gray) -> Gray | None:
    """The picture without edge rows and columns whose mean is above 250; None if all are."""
    bright = 250
    rows = np.flatnonzero(image.mean(axis=1) <= bright)
    columns = np.flatnonzero(image.mean(axis=0) <= bright)
    if len(rows) < 2 or len(columns) < 2:
        return None
    return np.ascontiguousarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
