"""Areas under curves with intervals, for photographs and for pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_BOOTSTRAPS = 2000
_SEED = 7
BINS = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and its 95 % interval, from a bootstrap over photographs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As documents print it."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def auc(truth: NDArray[np.bool_], score: Numbers) -> float:
    """The chance that a positive scores above a negative; ties count half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    positives, negatives = int(truth.sum()), int((~truth).sum())
    excess = ranks[truth].sum() - positives * (positives + 1) / 2
    return float(excess / (positives * negatives))


def auc_figure(truth: NDArray[np.bool_], score: Numbers) -> Figure:
    """`auc` with its interval."""
    random = np.random.default_rng(_SEED)
    draws = []
    while len(draws) < _BOOTSTRAPS:
        pick = random.integers(len(truth), size=len(truth))
        if 0 < truth[pick].sum() < len(truth):
            draws.append(auc(truth[pick], score[pick]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Figure(auc(truth, score), float(low), float(high))


def histograms(truth: NDArray[np.bool_], probability: NDArray[np.float32]) -> Numbers:
    """Pixels of one photograph by probability: `(2, BINS)`, those in lesions first."""
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    inside = np.bincount(bins[truth], minlength=BINS)
    outside = np.bincount(bins[~truth], minlength=BINS)
    return np.stack([inside, outside]).astype(np.float64)


def average_precision(counts: Numbers) -> float:
    """Area under precision against recall, from `(2, BINS)` of pooled pixels."""
    positive = np.cumsum(counts[0, ::-1])
    named = np.cumsum(counts.sum(axis=0)[::-1])
    precision = positive / np.maximum(named, 1)
    gained = np.diff(positive, prepend=0.0) / positive[-1]
    return float((precision * gained).sum())


def average_precision_figure(per_photograph: Numbers) -> Figure:
    """`average_precision` of pooled pixels, `(n, 2, BINS)`, with its interval."""
    random = np.random.default_rng(_SEED)
    draws = []
    while len(draws) < _BOOTSTRAPS // 4:
        pick = random.integers(len(per_photograph), size=len(per_photograph))
        pooled = per_photograph[pick].sum(axis=0)
        if pooled[0].sum():
            draws.append(average_precision(pooled))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Figure(average_precision(per_photograph.sum(axis=0)), float(low), float(high))


def best_point(counts: Numbers) -> tuple[float, float, float]:
    """The probability at which precision and recall balance best.

    Returns:
        Probability, precision and recall where their harmonic mean is largest.
    """
    positive = np.cumsum(counts[0, ::-1])
    named = np.cumsum(counts.sum(axis=0)[::-1])
    precision, recall = positive / np.maximum(named, 1), positive / max(positive[-1], 1)
    balance = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    best = int(balance.argmax())
    return (BINS - 1 - best) / BINS, float(precision[best]), float(recall[best])


def expected_calibration_error(truth: NDArray[np.bool_], probability: Numbers) -> float:
    """Mean distance of stated and true frequency over ten bins of equal width."""
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [
        abs(probability[bins == i].mean() - truth[bins == i].mean()) * (bins == i).mean()
        for i in range(10)
        if (bins == i).any()
    ]
    return float(sum(gaps))
