"""Proportions with their uncertainty."""

import math
from dataclasses import dataclass

#: The 97.5 % quantile of the standard normal distribution.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` of `n`, with the 95 % interval of the proportion behind them."""

    hits: int
    n: int
    value: float | None
    """None where `n` is 0."""
    low: float
    high: float


def proportion(hits: int, n: int) -> Proportion:
    """`hits / n` with Wilson's score interval, which holds at 0 and 1 and for small `n`.

    Raises:
        ValueError: not 0 <= hits <= n.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
        (1927) 209-212; recommended by Brown, Cai and DasGupta, Statistical Science 16 (2001)
        101-133.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no proportion")
    if n == 0:
        return Proportion(0, 0, None, 0.0, 1.0)
    value = hits / n
    z2 = Z_95**2
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
    # At the ends the bound is exact; rounding must not push it past.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == n else centre + half
    return Proportion(hits, n, value, low, high)
