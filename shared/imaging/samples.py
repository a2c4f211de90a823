"""Wide gray samples to eight bits."""

import numpy as np
from numpy.typing import NDArray

from shared.imaging.errors import UnreadableImage


def to_eight_bits(
    samples: NDArray[np.integer | np.floating],
) -> tuple[NDArray[np.uint8], str]:
    """Scale gray samples of any type to 0 to 255, and say by which rule.

    Integers that are never negative are divided by the full scale of the fewest bits, 8 to 16,
    that hold the largest of them: 12-bit radiographs in 16-bit files come out as bright as they
    were, and nothing is stretched by more than a factor of two. Floats within 0 to 1 count as
    fractions of white. Everything else, negative or wider than 16 bits, is stretched from its
    smallest to its largest value.

    Args:
        samples: `(H, W)`.

    Returns:
        `(H, W)`, and the rule in words.

    Raises:
        UnreadableImage: a float is not finite.
    """
    low, high = samples.min(), samples.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableImage("The picture holds samples that are not numbers.")
    if samples.dtype.kind in "ui" and low >= 0 and high < 1 << 16:
        bits = max(8, int(high).bit_length())
        table = _scaled(np.arange(1 << bits), 0.0, float((1 << bits) - 1))
        return table[samples], f"Samples were read as {bits} bits."
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        return _scaled(samples, 0.0, 1.0), "Samples were read as fractions of white."
    return (
        _scaled(samples, float(low), float(high)),
        "Samples were stretched from the smallest to the largest.",
    )


def _scaled(
    samples: NDArray[np.integer | np.floating], low: float, high: float
) -> NDArray[np.uint8]:
    span = high - low
    if span <= 0:
        return np.zeros(samples.shape, dtype=np.uint8)
    fractions = (samples.astype(np.float64) - low) / span
    return np.rint(np.clip(fractions, 0, 1) * 255).astype(np.uint8)
