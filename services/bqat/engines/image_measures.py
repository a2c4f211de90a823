"""Measures of a whole picture that need no face."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_BLOCKS = 50
_GRID_PX = 8


def picture_measures(rgb: Pixels, gray: Pixels) -> dict[str, float]:
    """The measures that BQAT takes of the picture as a whole.

    Args:
        rgb: `(H, W, 3)`.
        gray: `(H, W)`.

    Returns:
        `brightness`, mean gray; `dynamic_range`, mean of the brightest hundredth less mean of the
        darkest; `sharpness`, variance of the Laplacian; `contrast`, standard deviation of all
        values; `brightness_variance`, standard deviation of the means of 50 x 50 blocks of the
        stretched V of HSV.
    """
    histogram = np.bincount(gray.reshape(-1), minlength=256)
    return {
        "brightness": float(np.average(np.arange(256), weights=histogram)),
        "dynamic_range": dynamic_range(histogram),
        "sharpness": sharpness(gray),
        "contrast": contrast(rgb),
        "brightness_variance": brightness_variance(rgb),
    }


def dynamic_range(histogram: NDArray[np.int64]) -> float:
    """The mean of the brightest hundredth of the pixels less that of the darkest.

    Args:
        histogram: `(256,)` counts.
    """
    count = max(1, int(histogram.sum()) // 100)
    levels = np.arange(256, dtype=np.float64)

    def mean_of_first(counts: NDArray[np.int64], values: NDArray[np.float64]) -> float:
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        taken = np.clip(count - before, 0, counts)
        return float((taken * values).sum() / count)

    return mean_of_first(histogram[::-1], levels[::-1]) - mean_of_first(histogram, levels)


def sharpness(gray: Pixels) -> float:
    """The variance of the Laplacian, 0 for a picture of one gray."""
    laplacian = cv2.Laplacian(gray, cv2.CV_16S)
    _, deviation = cv2.meanStdDev(laplacian)
    return float(deviation[0, 0]) ** 2


def contrast(rgb: Pixels) -> float:
    """The standard deviation of the values of all three channels together."""
    means, deviations = cv2.meanStdDev(rgb)
    means, deviations = means.reshape(-1), deviations.reshape(-1)
    square = float((deviations**2 + means**2).mean()) - float(means.mean()) ** 2
    return float(np.sqrt(max(0.0, square)))


def brightness_variance(rgb: Pixels) -> float:
    """How unevenly the picture is lit: the deviation of block means of the stretched maximum."""
    red, green, blue = cv2.split(rgb)
    value = np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)
    low, high = int(value.min()), int(value.max())
    if low == high:
        return 0.0
    rows, columns = (min(_BLOCKS, side) for side in value.shape)
    means = cv2.resize(value, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float64)
    return float(((means - low) * 255 / (high - low)).std())


def blockiness(gray: Pixels) -> float:
    """Steps across the borders of 8 x 8 blocks over steps elsewhere: 1 without JPEG's traces.

    This is no component of a standard; it stands for compression where its network is not there.
    """
    height, width = gray.shape
    if height < 2 * _GRID_PX or width < 2 * _GRID_PX:
        return 1.0
    real = gray.astype(np.int16)
    ratios = []
    for steps in (
        np.abs(np.diff(real, axis=1)).mean(axis=0),
        np.abs(np.diff(real, axis=0)).mean(axis=1),
    ):
        at_border = np.arange(len(steps)) % _GRID_PX == _GRID_PX - 1
        elsewhere = float(steps[~at_border].mean())
        ratios.append((float(steps[at_border].mean()) + 0.1) / (elsewhere + 0.1))
    return float(np.mean(ratios))
