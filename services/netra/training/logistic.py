"""Logistic regression with a quadratic penalty, and its temperature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Logistic:
    """`logit = (x - mean) / scale @ weight + bias`."""

    mean: Numbers
    scale: Numbers
    weight: Numbers
    bias: float

    def logit(self, x: Numbers) -> Numbers:
        """Of `(n, d)`, `(n,)`."""
        return np.asarray((x - self.mean) / self.scale @ self.weight + self.bias)


def fit_logistic(x: Numbers, truth: NDArray[np.bool_], penalty: float) -> Logistic:
    """Fit by Newton's method on standardised features.

    Args:
        x: `(n, d)`.
        truth: `(n,)`.
        penalty: of half the squared weights; the bias goes free.
    """
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    design = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    weight = np.zeros(design.shape[1])
    for _ in range(60):
        probability = sigmoid(design @ weight)
        slope = design.T @ (probability - truth) + ridge * weight
        spread = np.maximum(probability * (1 - probability), 1e-9)
        bend = (design * spread[:, None]).T @ design + np.diag(ridge + 1e-9)
        step = np.linalg.solve(bend, slope)
        weight -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return Logistic(mean, scale, weight[:-1], float(weight[-1]))


def fit_temperature(logit: Numbers, truth: NDArray[np.bool_]) -> float:
    """What to divide held-out logits by so that they become frequencies.

    Source:
        Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    candidates = np.exp(np.linspace(np.log(0.25), np.log(6.0), 400))
    losses = [
        np.logaddexp(0, np.where(truth, -logit, logit) / candidate).mean()
        for candidate in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def sigmoid(logit: Numbers) -> Numbers:
    """Numbers to probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -60, 60))))
