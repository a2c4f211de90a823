"""The subbands of a WSQ picture, and how they are put together again.

Source:
    FBI, "WSQ gray-scale fingerprint image compression specification", IAFIS-IC-0110: 64 subbands,
    of which the last four are never coded; symmetric extension about whole samples. A band that
    lies in the second half of its parent is stored with its halves exchanged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Band:
    """A rectangle of coefficients, and whether its halves are exchanged, across and down."""

    x: int
    y: int
    width: int
    height: int
    swapped_across: bool = False
    swapped_down: bool = False

    def quarters(self) -> tuple["Band", "Band", "Band", "Band"]:
        """Its four parts: above left, above right, below left, below right."""
        across = self.width // 2 if self.swapped_across else (self.width + 1) // 2
        down = self.height // 2 if self.swapped_down else (self.height + 1) // 2
        right, below = self.x + across, self.y + down
        rest_across, rest_down = self.width - across, self.height - down
        return (
            Band(self.x, self.y, across, down),
            Band(right, self.y, rest_across, down, True, False),
            Band(self.x, below, across, rest_down, False, True),
            Band(right, below, rest_across, rest_down, True, True),
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """All bands of a picture.

    Attributes:
        coded: the 60 subbands in the order in which they are stored.
        joined: the bands that are put together from their quarters, innermost first.
    """

    coded: tuple[Band, ...]
    joined: tuple[Band, ...]


def build_tree(width: int, height: int) -> Tree:
    """The tree of a picture of this size."""
    whole = Band(0, 0, width, height)
    low, right, below, _ = whole.quarters()
    lowest, low_right, low_below, low_diagonal = low.quarters()
    sixteens = [quarter for band in (lowest, low_right, low_below) for quarter in band.quarters()]
    innermost = sixteens[0].quarters()[0]
    coded: list[Band] = [*innermost.quarters(), *sixteens[0].quarters()[1:]]
    for quarter in sixteens[1:]:
        coded += quarter.quarters()
    coded += [low_diagonal, *right.quarters(), *below.quarters()]
    joined = [
        innermost,
        *reversed(sixteens),
        lowest,
        low_below,
        low_right,
        below,
        right,
        low,
        whole,
    ]
    return Tree(tuple(coded), tuple(joined))


def reconstruct(coefficients: Real, tree: Tree, low_pass: Real, high_pass: Real) -> Real:
    """Put a picture together from its coefficients, in place.

    Args:
        coefficients: `(H, W)`, each subband in its rectangle.
        tree: the picture's.
        low_pass: synthesis filter of the low halves, of odd length, symmetric.
        high_pass: the same for the high halves.
    """
    for band in tree.joined:
        window = coefficients[band.y : band.y + band.height, band.x : band.x + band.width]
        columns = _joined(window, low_pass, high_pass, swapped=band.swapped_down)
        window[:] = _joined(columns.T, low_pass, high_pass, swapped=band.swapped_across).T
    return coefficients


def _joined(halves: Real, low_pass: Real, high_pass: Real, *, swapped: bool) -> Real:
    """One step along the first axis: low and high halves become their samples."""
    length = len(halves)
    if length < 2:
        return halves.copy()
    low_length = (length + 1) // 2
    first = length - low_length if swapped else low_length
    low, high = (halves[first:], halves[:first]) if swapped else (halves[:first], halves[first:])
    spread = np.zeros((2, *halves.shape), np.float32)
    spread[0, 0::2], spread[1, 1::2] = low, high
    joined = np.zeros_like(halves)
    for part, taps in zip(spread, (low_pass, high_pass), strict=True):
        reach = len(taps) // 2
        padded = np.pad(part, ((reach, reach), (0, 0)), mode="reflect")
        for tap, weight in enumerate(taps):
            joined += weight * padded[tap : tap + length]
    return joined
