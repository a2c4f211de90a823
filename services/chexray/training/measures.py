"""How well probabilities rank, how honest they are, and where to cut them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Auc:
    """An area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


def ranks_with_ties(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1-based ranks; equal values share their middle rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def delong_auc(target: NDArray[np.float32], score: NDArray[np.float64]) -> Auc:
    """Measure the AUC of one label with DeLong's variance.

    Args:
        target: `(N,)`, 0 or 1, both present.
        score: `(N,)`, higher where the finding is likelier.

    Source:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845; the rank form is of Sun
        and Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393.
    """
    score = np.asarray(score, np.float64)
    positive, negative = score[target > 0.5], score[target <= 0.5]
    m, n = positive.size, negative.size
    together = ranks_with_ties(np.concatenate([positive, negative]))
    # How much of the other class each case outranks.
    v10 = (together[:m] - ranks_with_ties(positive)) / n
    v01 = 1.0 - (together[m:] - ranks_with_ties(negative)) / m
    value = float(v10.mean())
    error = float(np.sqrt(v10.var(ddof=1) / m + v01.var(ddof=1) / n))
    return Auc(value, max(0.0, value - Z_95 * error), min(1.0, value + Z_95 * error))


def bootstrap_mean_auc(
    targets: NDArray[np.float32],
    scores: NDArray[np.float64],
    patients: NDArray[np.int64],
    repeats: int = 1000,
    seed: int = 0,
) -> Auc:
    """Measure the mean AUC over labels, with a percentile interval over resampled patients.

    Args:
        targets: `(N, L)`, 0 or 1.
        scores: `(N, L)`.
        patients: `(N,)`; all pictures of a drawn patient are drawn together.
        repeats: how many resamples; those in which a label has one class are left out.
        seed: of the resampling.
    """
    labels = range(targets.shape[1])
    value = float(np.mean([delong_auc(targets[:, k], scores[:, k]).value for k in labels]))
    random = np.random.default_rng(seed)
    names = np.unique(patients)
    rows_of = {name: np.flatnonzero(patients == name) for name in names}
    means = []
    for _ in range(repeats):
        rows = np.concatenate([rows_of[p] for p in random.choice(names, names.size)])
        drawn = targets[rows]
        if np.any(drawn.min(axis=0) == drawn.max(axis=0)):
            continue
        means.append(np.mean([delong_auc(drawn[:, k], scores[rows, k]).value for k in labels]))
    low, high = np.percentile(means, [2.5, 97.5])
    return Auc(value, float(low), float(high))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map logits of any shape to probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0))), np.float64)


def log_loss(targets: NDArray[np.float32], logits: NDArray[np.float64]) -> float:
    """Return the mean binary cross-entropy in nats."""
    signed = np.where(targets > 0.5, -logits, logits)
    return float(np.mean(np.logaddexp(0.0, signed)))


def fit_temperature(targets: NDArray[np.float32], logits: NDArray[np.float64]) -> float:
    """Find the T that makes sigmoid(logit / T) likeliest, by golden section on log T.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    low, high = np.log(0.1), np.log(10.0)
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if log_loss(targets, logits / np.exp(left)) < log_loss(targets, logits / np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2.0))


def brier_score(target: NDArray[np.float32], probability: NDArray[np.float64]) -> float:
    """Return the mean squared distance between probability and outcome."""
    return float(np.mean((probability - target) ** 2))


def calibration_error(
    target: NDArray[np.float32], probability: NDArray[np.float64], bins: int = 10
) -> float:
    """Return the expected calibration error over `bins` bins that hold equally many cases."""
    order = np.argsort(probability, kind="stable")
    gaps = [
        part.size * abs(float(probability[part].mean()) - float(target[part].mean()))
        for part in np.array_split(order, bins)
    ]
    return float(sum(gaps) / target.size)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a probability becomes a finding, and what that cut does."""

    probability: float
    sensitivity: float
    specificity: float


def balanced_point(target: NDArray[np.float32], probability: NDArray[np.float64]) -> OperatingPoint:
    """Find the probability at which sensitivity and specificity are nearest to each other.

    Where the ROC curve is flat and positives are few, the cut of the greatest Youden index
    jumps from sample to sample; the balanced cut moves little. It lies half way between the
    two neighbouring cases, so that no case sits on it.
    """
    order = np.argsort(-probability, kind="stable")
    sorted_target, sorted_probability = target[order], probability[order]
    sensitivity = np.cumsum(sorted_target) / target.sum()
    specificity = 1.0 - np.cumsum(1.0 - sorted_target) / (1.0 - target).sum()
    # A cut between equal probabilities does not exist.
    distinct = np.append(sorted_probability[1:] < sorted_probability[:-1], False)
    best = int(np.argmin(np.where(distinct, np.abs(sensitivity - specificity), np.inf)))
    cut = (sorted_probability[best] + sorted_probability[best + 1]) / 2.0
    return OperatingPoint(float(cut), float(sensitivity[best]), float(specificity[best]))
