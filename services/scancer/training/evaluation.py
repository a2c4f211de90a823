"""Everything that out-of-fold predictions tell about the recipe, and what the teacher scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scancer.gate import check_patch
from shared.evaluation.calibration import brier_of_prevalence, brier_score, calibration_error
from shared.evaluation.calibration import reliability as reliability_of
from shared.evaluation.ranking import Area, delong_area
from shared.evaluation.thresholds import OperatingPoint, measure_point


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What cross-validation found out about the recipe."""

    cases: int
    positives: int
    area: Area
    area_where_accepted: Area
    share_accepted: float
    """By the gate."""
    accuracy: float
    """At a probability of 0.5."""
    temperature: float
    brier: float
    brier_of_prevalence: float
    calibration_error: float
    point: OperatingPoint
    teacher_area: Area
    teacher_accuracy: float


def evaluate(
    tumor: NDArray[np.int64],
    logits: NDArray[np.float64],
    teacher_logits: NDArray[np.float32],
    pixels: NDArray[np.uint8],
) -> Evaluation:
    """Measure out-of-fold logits `(N,)`; the operating point is a cut of the calibrated answer."""
    target = tumor > 0
    temperature = fit_temperature(target, logits)
    probability = sigmoid(logits / temperature)
    accepted = np.array([check_patch(patch).accepted for patch in pixels])
    taught = teacher_logits.astype(np.float64)
    return Evaluation(
        cases=len(target),
        positives=int(target.sum()),
        area=delong_area(target, logits),
        area_where_accepted=delong_area(target[accepted], logits[accepted]),
        share_accepted=float(accepted.mean()),
        accuracy=float(((logits > 0) == target).mean()),
        temperature=temperature,
        brier=brier_score(target, probability),
        brier_of_prevalence=brier_of_prevalence(target),
        calibration_error=calibration_error(reliability_of(target, probability)),
        point=measure_point(target, probability, balanced_cut(target, probability)),
        teacher_area=delong_area(target, taught),
        teacher_accuracy=float(((taught > 0) == target).mean()),
    )


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map logits of any shape to probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0))), np.float64)


def fit_temperature(target: NDArray[np.bool_], logits: NDArray[np.float64]) -> float:
    """Find the T that makes sigmoid(logit / T) likeliest, among 2,000 from 0.1 to 10.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    signed = np.where(target, -logits, logits)
    candidates = np.geomspace(0.1, 10.0, 2000)
    losses = [float(np.logaddexp(0.0, signed / t).mean()) for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def balanced_cut(target: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """The probability at which sensitivity and specificity are nearest to each other."""
    order = np.argsort(-probability, kind="stable")
    hit = target[order]
    sensitivity = np.cumsum(hit) / hit.sum()
    specificity = 1.0 - np.cumsum(~hit) / (~hit).sum()
    best = int(np.argmin(np.abs(sensitivity - specificity)))
    return float(probability[order][best : best + 2].mean())
