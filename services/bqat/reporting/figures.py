"""The figures of a report: summaries, histograms, correlations and drift, from columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.bqat.columns import Column

Figures = NDArray[np.float64]

BINS: Final = 40
#: Kendall's tau compares every pair of rows.
_MOST_FOR_KENDALL: Final = 800
_MOST_FOR_RANKS: Final = 50_000
_TENTHS: Final = 10
_SEED: Final = 20_261_126


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one measure that are there, in their own units."""

    count: int
    mean: float
    deviation: float
    low: float
    fifth: float
    median: float
    ninety_fifth: float
    high: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges; equal widths."""

    edges: Figures
    counts: Figures


def summarise(column: Column) -> Summary | None:
    """The summary of a measure, or None where no sample has it."""
    values = column.present.astype(np.float64)
    if not len(values):
        return None
    fifth, median, ninety_fifth = np.percentile(values, [5, 50, 95])
    return Summary(
        len(values),
        float(values.mean()),
        float(values.std()),
        float(values.min()),
        float(fifth),
        float(median),
        float(ninety_fifth),
        float(values.max()),
    )


def histogram(
    column: Column,
    *,
    span: tuple[float, float] | None = None,
    edges: Figures | None = None,
) -> Histogram | None:
    """Counts in bins of equal width, whole numbers in bins of whole width.

    Args:
        column: whose figures.
        span: what the bins cover; unset: the figures.
        edges: of another histogram, to be compared with.
    """
    values = column.present.astype(np.float64)
    if not len(values):
        return None
    if edges is not None:
        return Histogram(edges, np.histogram(values, edges)[0].astype(np.float64))
    low, high = span or (float(values.min()), float(values.max()))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    bins = BINS
    if np.all(values == np.round(values)) and high - low < 2 * BINS:
        width = max(1, round((high - low) / BINS + 0.499))
        low, high = np.floor(low) - 0.5, np.ceil(high) + 0.5
        bins = int(np.ceil((high - low) / width))
        high = low + bins * width
    counts, made = np.histogram(values, bins=bins, range=(low, high))
    return Histogram(made, counts.astype(np.float64))


def correlations(columns: Sequence[Column]) -> dict[str, Figures]:
    """Pearson, Spearman and Kendall matrices over the rows that have both of two measures.

    Ranks are taken of at most 50,000 rows and Kendall's tau-b of at most 800, drawn by lot.
    """
    if len(columns) < 2:
        return {}
    matrix = np.column_stack([column.values.astype(np.float64) for column in columns])
    size = len(columns)
    found = {name: np.full((size, size), np.nan) for name in ("Pearson", "Spearman")}
    lot = np.random.default_rng(_SEED)
    ranked = _some(matrix, _MOST_FOR_RANKS, lot)
    for one in range(size):
        for other in range(one, size):
            pairs = {"Pearson": _both(matrix, one, other), "Spearman": _both(ranked, one, other)}
            for name, pair in pairs.items():
                if len(pair) < 3 or np.ptp(pair[:, 0]) == 0 or np.ptp(pair[:, 1]) == 0:
                    continue
                if name == "Spearman":
                    pair = np.column_stack([mean_ranks(pair[:, 0]), mean_ranks(pair[:, 1])])
                value = float(np.corrcoef(pair[:, 0], pair[:, 1])[0, 1])
                found[name][one, other] = found[name][other, one] = value
    return found | {"Kendall": kendall(_some(matrix, _MOST_FOR_KENDALL, lot))}


def mean_ranks(values: Figures) -> Figures:
    """The rank of each value, from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], np.float64)


def kendall(matrix: Figures) -> Figures:
    """Kendall's tau-b of every two columns, over the pairs of rows that have both figures.

    Args:
        matrix: `(rows, columns)`; NaN where a figure is missing.

    Source:
        Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    first, second = np.triu_indices(len(matrix), 1)
    there = ~np.isnan(matrix)
    both = (there[first] & there[second]).astype(np.float32)
    signs = np.sign(np.nan_to_num(matrix[first]) - np.nan_to_num(matrix[second]))
    signs = signs.astype(np.float32) * both
    untied = np.abs(signs).T @ both
    with np.errstate(divide="ignore", invalid="ignore"):
        tau = (signs.T @ signs) / np.sqrt(untied * untied.T)
    return np.where(np.isfinite(tau), tau, np.nan).astype(np.float64)


def _some(matrix: Figures, most: int, lot: np.random.Generator) -> Figures:
    if len(matrix) <= most:
        return matrix
    return np.asarray(matrix[lot.choice(len(matrix), most, replace=False)])


def _both(matrix: Figures, one: int, other: int) -> Figures:
    pair = matrix[:, [one, other]]
    return np.asarray(pair[~np.isnan(pair).any(axis=1)])


def density(x: Column, y: Column, *, bins: int = 36) -> tuple[Figures, Figures, Figures] | None:
    """Counts on a grid of two measures, and its edges; None where nothing has both."""
    pair = np.column_stack([x.values, y.values]).astype(np.float64)
    pair = pair[~np.isnan(pair).any(axis=1)]
    if not len(pair) or np.ptp(pair[:, 0]) == 0 or np.ptp(pair[:, 1]) == 0:
        return None
    counts, across, upward = np.histogram2d(pair[:, 0], pair[:, 1], bins=bins)
    return counts, across, upward


def strongest_pairs(columns: Sequence[Column], matrix: Figures, most: int) -> list[tuple[int, int]]:
    """The pairs of measures that go together most, without those that are the same thing twice."""
    found = [
        (abs(float(matrix[one, other])), one, other)
        for one in range(len(columns))
        for other in range(one + 1, len(columns))
        if not np.isnan(matrix[one, other]) and abs(matrix[one, other]) < 0.995
    ]
    return [(one, other) for _, one, other in sorted(found, reverse=True)[:most]]


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one measure differs between two datasets."""

    name: str
    stability_index: float | None
    """Population stability index over the tenths of the first; 0 is no difference."""
    largest_gap: float
    """Kolmogorov and Smirnov's D: the largest gap of the two distribution functions, 0 to 1."""
    median_shift: float
    """Of the second against the first, in the measure's own unit."""
    missing_shift: float
    """Of the share that lacks it."""


def drift(one: Column, other: Column) -> Drift | None:
    """Compare a measure of two datasets; None where one of them has no figure."""
    first = np.sort(one.present.astype(np.float64))
    second = np.sort(other.present.astype(np.float64))
    if not len(first) or not len(second):
        return None
    points = np.concatenate([first, second])
    gap = np.abs(
        np.searchsorted(first, points, side="right") / len(first)
        - np.searchsorted(second, points, side="right") / len(second)
    ).max()
    return Drift(
        one.name,
        _stability(first, second),
        float(gap),
        float(np.median(second) - np.median(first)),
        other.missing / max(1, len(other.values)) - one.missing / max(1, len(one.values)),
    )


def _stability(first: Figures, second: Figures) -> float | None:
    edges = np.unique(np.percentile(first, np.linspace(0, 100, _TENTHS + 1)))
    if len(edges) < 3:
        return None
    edges[0], edges[-1] = -np.inf, np.inf
    # Half a sample in an empty bin keeps the logarithm finite.
    shares = [
        np.maximum(np.histogram(values, edges)[0], 0.5) / len(values) for values in (first, second)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
