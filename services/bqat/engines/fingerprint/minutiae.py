"""Ridge endings and bifurcations: enhance along the ridges, thin them, look at crossings.

NFIQ 2 counts what FingerJet FX finds, which is a program of its own; the counts here are a
stand-in and marked `approx`.

Source:
    Hong, Wan and Jain, "Fingerprint image enhancement", IEEE PAMI 20(8), 1998 (oriented filters);
    Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", CACM 27(3), 1984;
    Rutovitz' crossing number.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.fingerprint.blocks import BLOCK_PX, Gray
from services.bqat.engines.fingerprint.measures import orientation_certainty

_DIRECTIONS = 16
_KERNEL_PX = 17
_ALONG_PX, _ACROSS_PX, _MEAN_ACROSS_PX = 5.0, 4.0, 1.2
_ORIENTATION_PX = 7
_RIDGE_PERIOD_PX = 9.0
_BORDER_PX = 16
_NEAREST_PX = 8.0
_MAX_PASSES = 60
# Neighbours clockwise from above, as bits.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
_RECTANGLE_PX = 200


@dataclass(frozen=True, slots=True)
class Minutia:
    """Where a ridge ends or forks."""

    x: int
    y: int
    is_ending: bool


def find_minutiae(image: Gray, mask: NDArray[np.bool_]) -> list[Minutia]:
    """Minutiae well inside the fingerprint, none nearer than 8 px to another.

    Args:
        image: `(H, W)`, ridges dark, 500 ppi.
        mask: `(H, W)`, True on the fingerprint.
    """
    if not mask.any():
        return []
    skeleton = thin(find_ridges(image)) & mask
    crossings = crossing_numbers(skeleton)
    inner = cv2.erode(
        np.pad(mask.astype(np.uint8), 1), np.ones((2 * _BORDER_PX + 1,) * 2, np.uint8)
    )[1:-1, 1:-1].astype(np.bool_)
    ys, xs = np.nonzero(skeleton & inner & ((crossings == 1) | (crossings == 3)))
    found = [
        Minutia(int(x), int(y), bool(crossings[y, x] == 1)) for y, x in zip(ys, xs, strict=True)
    ]
    return _apart(found)


def find_ridges(image: Gray) -> NDArray[np.bool_]:
    """Where ridges run: dark through the filter of their orientation, and dark themselves.

    The filter alone would draw a ridge into any gap that is as wide as one.

    Args:
        image: `(H, W)`.
    """
    real = image.astype(np.float32)
    local = real - cv2.GaussianBlur(real, (0, 0), 12)
    deviation = np.sqrt(cv2.GaussianBlur(local * local, (0, 0), 12)) + 1.0
    level = local / deviation
    across = cv2.Sobel(level, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(level, cv2.CV_32F, 0, 1)
    twice = cv2.GaussianBlur(2 * across * down, (0, 0), _ORIENTATION_PX)
    difference = cv2.GaussianBlur(across * across - down * down, (0, 0), _ORIENTATION_PX)
    normal = 0.5 * np.arctan2(twice, difference)
    nearest = np.asarray(np.rint(normal / np.pi * _DIRECTIONS), np.int64) % _DIRECTIONS
    ridges = np.zeros(image.shape, np.bool_)
    for direction, (wave, along) in enumerate(_filters()):
        chosen = nearest == direction
        if chosen.any():
            alternates = cv2.filter2D(level, cv2.CV_32F, wave)[chosen] < 0
            ridges[chosen] = alternates & (cv2.filter2D(level, cv2.CV_32F, along)[chosen] < 0)
    return ridges


@cache
def _filters() -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    """Per direction a wave of one ridge period across the ridges, and a mean along them."""
    half = _KERNEL_PX // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    kernels = []
    for direction in range(_DIRECTIONS):
        angle = np.pi * direction / _DIRECTIONS
        normal = x * np.cos(angle) + y * np.sin(angle)
        along = -x * np.sin(angle) + y * np.cos(angle)
        length = np.exp(-(along**2) / (2 * _ALONG_PX**2))
        envelope = length * np.exp(-(normal**2) / (2 * _ACROSS_PX**2))
        wave = envelope * np.cos(2 * np.pi * normal / _RIDGE_PERIOD_PX)
        wave -= envelope * wave.sum() / envelope.sum()
        mean = length * np.exp(-(normal**2) / (2 * _MEAN_ACROSS_PX**2))
        kernels.append(
            (
                np.asarray(wave / np.abs(wave).sum(), np.float32),
                np.asarray(mean / mean.sum(), np.float32),
            )
        )
    return tuple(kernels)


def thin(shape: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lines one pixel wide that keep the connections of `shape`."""
    kept = np.pad(shape.astype(np.uint8), 1)
    kept[0] = kept[-1] = 0
    kept[:, 0] = kept[:, -1] = 0
    first, second = _thinning_tables()
    for _ in range(_MAX_PASSES):
        removed = 0
        for table in (first, second):
            goes = (table[_codes(kept)] & kept).astype(np.bool_)
            removed += int(goes.sum())
            kept[goes] = 0
        if not removed:
            break
    return kept[1:-1, 1:-1].astype(np.bool_)


def crossing_numbers(skeleton: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many lines leave each pixel: 1 at an ending, 2 on a line, 3 at a fork."""
    return _crossing_table()[_codes(np.pad(skeleton.astype(np.uint8), 1))][1:-1, 1:-1]


def _codes(shape: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The eight neighbours of each pixel as one byte."""
    kernel = np.zeros((3, 3), np.float32)
    for bit, (down, across) in enumerate(_AROUND):
        kernel[down + 1, across + 1] = 1 << bit
    return np.asarray(
        cv2.filter2D(shape, cv2.CV_8U, kernel, borderType=cv2.BORDER_CONSTANT), np.uint8
    )


@cache
def _thinning_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For each pattern of neighbours whether the first and the second pass remove the pixel."""
    tables = np.zeros((2, 256), np.uint8)
    for code in range(256):
        on = [code >> bit & 1 for bit in range(8)]
        steps = sum(not on[bit] and on[(bit + 1) % 8] for bit in range(8))
        if not 2 <= sum(on) <= 6 or steps != 1:
            continue
        north, east, south, west = on[0], on[2], on[4], on[6]
        tables[0, code] = not (north and east and south) and not (east and south and west)
        tables[1, code] = not (north and east and west) and not (north and south and west)
    return tables[0], tables[1]


@cache
def _crossing_table() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for code in range(256):
        on = [code >> bit & 1 for bit in range(8)]
        table[code] = sum(on[bit] != on[(bit + 1) % 8] for bit in range(8)) // 2
    return table


def _apart(found: list[Minutia]) -> list[Minutia]:
    """Without pairs that are nearer than a ridge: breaks, spurs and bridges come in pairs."""
    if len(found) < 2:
        return found
    places = np.array([(minutia.x, minutia.y) for minutia in found], np.float64)
    distances = np.hypot(*(places[:, None, :] - places[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.inf)
    return [
        minutia
        for minutia, nearest in zip(found, distances.min(axis=1), strict=True)
        if nearest >= _NEAREST_PX
    ]


def minutiae_measures(image: Gray, minutiae: list[Minutia]) -> dict[str, float]:
    """NFIQ 2's four measures that need minutiae, computed as it does from those found here."""
    if not minutiae:
        return {"FingerJetFX_MinCount_COMMinRect200x200": 0, "FingerJetFX_MinutiaeCount": 0}
    x = np.array([minutia.x for minutia in minutiae])
    y = np.array([minutia.y for minutia in minutiae])
    half = _RECTANGLE_PX // 2
    central = (np.abs(x - int(x.mean())) <= half) & (np.abs(y - int(y.mean())) <= half)
    mean, deviation = float(image.mean()), float(image.std())
    darker = certain = 0
    for minutia in minutiae:
        top, left = (max(0, place - BLOCK_PX // 2) for place in (minutia.y, minutia.x))
        block = image[top : top + BLOCK_PX, left : left + BLOCK_PX]
        quality = (mean - float(block.mean())) / deviation if deviation else 0.0
        darker += 0 < quality <= 0.5
        top = max(0, min(top, image.shape[0] - BLOCK_PX))
        left = max(0, min(left, image.shape[1] - BLOCK_PX))
        certainty = orientation_certainty(image[top : top + BLOCK_PX, left : left + BLOCK_PX])
        certain += int(100 * (certainty or 0.0) + 0.5) > 80
    return {
        "FingerJetFX_MinCount_COMMinRect200x200": int(central.sum()),
        "FingerJetFX_MinutiaeCount": len(minutiae),
        "FJFXPos_Mu_MinutiaeQuality_2": darker / len(minutiae),
        "FJFXPos_OCL_MinutiaeQuality_80": certain / len(minutiae),
    }
