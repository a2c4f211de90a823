"""How well scores rank: the ROC curve, its area with an interval, and average precision.

Everywhere, `target` is `(N,)` of bool, True where the finding is present, and `score` is `(N,)`,
higher where the finding is held likelier. Equal scores are one step of every curve, so no figure
depends on the order of the cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.evaluation.proportions import Z_95

Targets = NDArray[np.bool_]
Scores = NDArray[np.float64]

#: Corners of a ROC curve that are kept; more are not seen in a plot.
MAX_CORNERS = 500
#: Resamples of a bootstrap, unless told otherwise.
RESAMPLES = 2000
#: How many numbers one step of the bootstrap may hold at once.
_CHUNK_NUMBERS = 4_000_000
#: With fewer resamples than this share in which every label has both classes, no interval.
_USABLE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Area:
    """An area under the ROC curve with its 95 % interval.

    `low` and `high` are None where the data do not determine an interval: fewer than two cases
    of a class, or classes that the scores separate completely.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    """`delong` or `bootstrap`."""


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Corners of a ROC curve from (0, 0) to (1, 1)."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


def middle_ranks(values: Scores) -> Scores:
    """1-based ranks; equal values share the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], np.float64)


def area(target: Targets, score: Scores) -> float:
    """The share of (positive, negative) pairs that the scores put in order; ties count half.

    Raises:
        ValueError: one class is absent.
    """
    _require_both(target)
    ranks = middle_ranks(score)
    m = int(target.sum())
    n = target.size - m
    return float((ranks[target].sum() - m * (m + 1) / 2.0) / (m * n))


def delong_area(target: Targets, score: Scores) -> Area:
    """The area with DeLong's variance, for cases that are independent of each other.

    The interval is the usual one, value and 1.96 standard errors, cut at 0 and 1. It is a little
    too narrow for few positives: simulated at an area of 0.8, it holds the truth in 94 % of
    studies with 40 and in 90 % of those with 16.

    Raises:
        ValueError: one class is absent.

    Source:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845; the rank form is of Sun
        and Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393.
    """
    value = area(target, score)
    positive, negative = score[target], score[~target]
    m, n = positive.size, negative.size
    if min(m, n) < 2:
        return Area(value, None, None, "delong")
    together = middle_ranks(np.concatenate([positive, negative]))
    # How much of the other class each case is on the right side of.
    of_positives = (together[:m] - middle_ranks(positive)) / n
    of_negatives = 1.0 - (together[m:] - middle_ranks(negative)) / m
    variance = float(of_positives.var(ddof=1) / m + of_negatives.var(ddof=1) / n)
    if variance <= 0.0:
        return Area(value, None, None, "delong")
    half = Z_95 * float(np.sqrt(variance))
    return Area(value, max(0.0, value - half), min(1.0, value + half), "delong")


def bootstrap_area(
    target: Targets,
    score: Scores,
    cluster: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Area:
    """The area with a percentile interval over resampled clusters, such as patients.

    Args:
        target: see the module.
        score: see the module.
        cluster: who each case belongs to; all cases of a drawn cluster are drawn together.
        resamples: how many; those without both classes are left out.
        seed: of the resampling; the same data give the same interval.

    Raises:
        ValueError: one class is absent.

    Source:
        Field and Welsh, "Bootstrapping clustered data", JRSS B 69 (2007) 369-390.
    """
    value = area(target, score)
    areas = _resampled_areas([(target, score)], cluster, resamples, seed)[0]
    return _with_percentiles(value, areas, resamples, _separates(target, score))


def mean_area(
    labels: Sequence[tuple[Targets, Scores]],
    cluster: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Area:
    """The mean area of several labels of the same cases, with a bootstrap interval.

    Args:
        labels: target and score of each label; a case whose truth is unknown has a score of NaN.
        cluster: who each case belongs to.
        resamples: how many.
        seed: of the resampling.

    Raises:
        ValueError: a label lacks a class, or there is no label.
    """
    known = [(~np.isnan(score), target, score) for target, score in labels]
    value = float(np.mean([area(target[has], score[has]) for has, target, score in known]))
    separated = all(_separates(target[has], score[has]) for has, target, score in known)
    areas = _resampled_areas(labels, cluster, resamples, seed)
    return _with_percentiles(value, areas.mean(axis=0), resamples, separated)


def roc_curve(target: Targets, score: Scores) -> RocCurve:
    """The corners of the ROC curve, at most `MAX_CORNERS` of them.

    Points on a straight line between two others are left out.

    Raises:
        ValueError: one class is absent.
    """
    _require_both(target)
    positives, negatives = _steps_down(target, score)
    true_positive = np.concatenate([[0], np.cumsum(positives)])
    false_positive = np.concatenate([[0], np.cumsum(negatives)])
    bends = np.ones(true_positive.size, np.bool_)
    # The cross product of the steps before and after a point is 0 where it bends nothing.
    bends[1:-1] = positives[:-1] * negatives[1:] != positives[1:] * negatives[:-1]
    corners = np.flatnonzero(bends)
    if corners.size > MAX_CORNERS:
        corners = corners[np.linspace(0, corners.size - 1, MAX_CORNERS).round().astype(int)]
    return RocCurve(
        tuple(float(rate) for rate in false_positive[corners] / false_positive[-1]),
        tuple(float(rate) for rate in true_positive[corners] / true_positive[-1]),
    )


def average_precision(target: Targets, score: Scores) -> float:
    """The area under the precision-recall curve, by steps and without interpolation.

    Raises:
        ValueError: one class is absent.

    Source:
        Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML
        2006: straight lines between points of this curve would flatter.
    """
    _require_both(target)
    positives, negatives = _steps_down(target, score)
    found = np.cumsum(positives)
    precision = found / (found + np.cumsum(negatives))
    return float((precision * positives).sum() / found[-1])


def _require_both(target: Targets) -> None:
    if not target.any() or target.all():
        raise ValueError("ranking needs cases with the finding and cases without")


def _separates(target: Targets, score: Scores) -> bool:
    """Whether a threshold puts all positives on one side and all negatives on the other."""
    positive, negative = score[target], score[~target]
    return bool(positive.min() > negative.max() or positive.max() < negative.min())


def _steps_down(target: Targets, score: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positives and negatives at each distinct score, the highest first."""
    distinct, place = np.unique(-score, return_inverse=True)
    positives = np.bincount(place[target], minlength=distinct.size)
    negatives = np.bincount(place[~target], minlength=distinct.size)
    return positives, negatives


def _resampled_areas(
    labels: Sequence[tuple[Targets, Scores]],
    cluster: Sequence[str],
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """`(labels, usable resamples)` areas; a resample is usable if every label has both classes.

    A resample is a weight per case, how often its cluster was drawn, and the area is computed
    from sums of weights per distinct score: no case is copied or sorted again.
    """
    names, cluster_of = np.unique(np.asarray(cluster, dtype=np.str_), return_inverse=True)
    random = np.random.default_rng(seed)
    at_once = max(1, _CHUNK_NUMBERS // max(1, len(cluster_of)))
    ranked = [_ByScore(target, score, cluster_of) for target, score in labels]
    chunks = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = random.multinomial(
            names.size, np.full(names.size, 1.0 / names.size), size=count
        ).astype(np.float64)
        chunks.append(np.stack([each.areas(drawn) for each in ranked]))
    areas = np.concatenate(chunks, axis=1)
    return np.asarray(areas[:, ~np.isnan(areas).any(axis=0)], np.float64)


class _ByScore:
    """The cases of one label in the order of their scores."""

    def __init__(self, target: Targets, score: Scores, cluster_of: NDArray[np.intp]) -> None:
        known = np.flatnonzero(~np.isnan(score))
        order = known[np.argsort(score[known], kind="stable")]
        self._positive = target[order].astype(np.float64)
        self._cluster_of = cluster_of[order]
        ordered = score[order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def areas(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area of each resample, `(R, clusters)`; NaN where a class is absent."""
        weights = drawn[:, self._cluster_of]
        positives = np.add.reduceat(weights * self._positive, self._starts, axis=1)
        negatives = np.add.reduceat(weights, self._starts, axis=1) - positives
        below = np.cumsum(negatives, axis=1) - negatives / 2.0
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        ordered = (positives * below).sum(axis=1)
        areas = np.full(pairs.shape, np.nan)
        np.divide(ordered, pairs, out=areas, where=pairs > 0)
        return areas


def _with_percentiles(
    value: float, areas: NDArray[np.float64], resamples: int, separated: bool
) -> Area:
    if separated or areas.size < _USABLE_SHARE * resamples:
        return Area(value, None, None, "bootstrap")
    low, high = np.percentile(areas, [2.5, 97.5])
    return Area(value, float(low), float(high), "bootstrap")
