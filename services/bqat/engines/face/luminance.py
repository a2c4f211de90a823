"""Luminance, histograms and colour as ISO/IEC 29794-5 defines them.

Source:
    IEC 61966-2-1 (sRGB, linearised), ITU-R BT.709 weights; CIELAB under D50 with the matrix of
    sRGB adapted by Bradford. Constants as in OFIQ 1.0.3.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]

_WEIGHTS = (0.2126, 0.7152, 0.0722)
_TO_XYZ = np.array(
    [
        [0.43605, 0.38508, 0.14309],
        [0.22249, 0.71689, 0.06062],
        [0.01393, 0.09710, 0.71419],
    ]
)
_WHITE = np.array([0.964221, 1.0, 0.825211])
_KAPPA, _EPSILON = 24289 / 27, 216 / 24389


def linearised(share: Real) -> Real:
    """Linear light of sRGB values between 0 and 1."""
    return np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)


_LINEAR = linearised(np.arange(256) / 255)


def luminance(rgb: Pixels) -> Pixels:
    """`(H, W)` luminance of `(H, W, 3)` pixels, `floor(255 y + 0.5)`."""
    red, green, blue = (
        np.take(_LINEAR * weight, rgb[..., channel]) for channel, weight in enumerate(_WEIGHTS)
    )
    total = red + green
    total += blue
    total *= 255
    total += 0.5
    return total.astype(np.uint8)


def histogram(values: Pixels) -> Real:
    """Shares of the 256 levels; all zero where there is no value."""
    counts = np.bincount(values.reshape(-1), minlength=256).astype(np.float64)
    return counts / max(1.0, float(counts.sum()))


def histogram_mean(shares: Real) -> float:
    """The mean level, 0 to 1."""
    return float((shares * np.arange(256)).sum() / 255)


def histogram_variance(shares: Real) -> float:
    """The variance of levels between 0 and 1."""
    levels = np.arange(256) / 255
    return float((shares * (levels - histogram_mean(shares)) ** 2).sum())


def entropy_bits(shares: Real) -> float:
    """Shannon's entropy, 0 to 8 bits."""
    present = shares[shares > 0]
    return abs(float((present * np.log2(present)).sum()))


def mean_lab(rgb: Pixels) -> tuple[float, float]:
    """The a and b of CIELAB of the mean colour of `(H, W, 3)` pixels."""
    linear = linearised(np.asarray(rgb.reshape(-1, 3).mean(axis=0) / 255, np.float64))
    relative = _TO_XYZ @ linear / _WHITE
    bent = np.where(relative <= _EPSILON, (_KAPPA * relative + 16) / 116, np.cbrt(relative))
    return float(500 * (bent[0] - bent[1])), float(200 * (bent[1] - bent[2]))


def colour_distance(a: float, b: float) -> float:
    """How far a mean colour is from those of skin; 100 where a or b is negative."""
    if a < 0 or b < 0:
        return 100.0
    beyond_a = max(0.0, 5 - a, a - 25)
    beyond_b = max(0.0, 5 - b, b - 35)
    return float(np.hypot(beyond_a, beyond_b))
