"""Everything that out-of-fold predictions tell about the recipe."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chexray.training.measures import (
    Auc,
    OperatingPoint,
    balanced_point,
    bootstrap_mean_auc,
    brier_score,
    calibration_error,
    delong_auc,
    fit_temperature,
    sigmoid,
)
from services.chexray.training.radiographs import LABELS


@dataclass(frozen=True, slots=True)
class LabelMeasure:
    """What cross-validation found out about one label."""

    positives: int
    auc: Auc
    brier: float
    brier_of_prevalence: float
    calibration_error: float
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What cross-validation found out about the recipe."""

    cases: int
    temperature: float
    mean_auc: Auc
    labels: dict[str, LabelMeasure]
    auc_by_view: dict[str, dict[str, float]]


def evaluate(
    targets: NDArray[np.float32],
    logits: NDArray[np.float64],
    patients: NDArray[np.int64],
    anteroposterior: NDArray[np.bool_],
) -> Evaluation:
    """Measure out-of-fold logits `(N, 5)`; operating points are cuts of calibrated probability."""
    temperature = fit_temperature(targets, logits)
    probabilities = sigmoid(logits / temperature)
    labels = {}
    for k, label in enumerate(LABELS):
        target, probability = targets[:, k], probabilities[:, k]
        prevalence = float(target.mean())
        labels[label] = LabelMeasure(
            positives=int(target.sum()),
            auc=delong_auc(target, logits[:, k]),
            brier=brier_score(target, probability),
            brier_of_prevalence=prevalence * (1.0 - prevalence),
            calibration_error=calibration_error(target, probability),
            point=balanced_point(target, probability),
        )
    by_view = {
        view: {
            label: delong_auc(targets[rows, k], logits[rows, k]).value
            for k, label in enumerate(LABELS)
        }
        for view, rows in (("PA", ~anteroposterior), ("AP", anteroposterior))
    }
    mean_auc = bootstrap_mean_auc(targets, logits, patients)
    return Evaluation(len(targets), temperature, mean_auc, labels, by_view)
