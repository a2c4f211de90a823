"""What a cut of the probability does, and where to cut for a wanted sensitivity."""

import math
from dataclasses import dataclass

import numpy as np

from shared.evaluation.proportions import Proportion, proportion
from shared.evaluation.ranking import Scores, Targets


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A probability from which the finding is reported, and what that does on these cases."""

    probability: float
    sensitivity: Proportion
    specificity: Proportion
    positive_predictive_value: Proportion
    negative_predictive_value: Proportion


def measure_point(target: Targets, probability: Scores, cut: float) -> OperatingPoint:
    """What reporting every case with `probability >= cut` does."""
    reported = probability >= cut
    true_positives = int((reported & target).sum())
    true_negatives = int((~reported & ~target).sum())
    positives = int(target.sum())
    return OperatingPoint(
        cut,
        sensitivity=proportion(true_positives, positives),
        specificity=proportion(true_negatives, target.size - positives),
        positive_predictive_value=proportion(true_positives, int(reported.sum())),
        negative_predictive_value=proportion(true_negatives, int((~reported).sum())),
    )


def fit_point(target: Targets, probability: Scores, sensitivity: float) -> OperatingPoint:
    """The highest cut that finds at least the share `sensitivity` of these positives.

    The cut lies half way to the next lower probability, so that no case sits on it.

    Raises:
        ValueError: there is no positive, or `sensitivity` is not above 0 and at most 1.
    """
    if not 0.0 < sensitivity <= 1.0:
        raise ValueError("a target sensitivity lies above 0 and is at most 1")
    positive = np.sort(probability[target])[::-1]
    if positive.size == 0:
        raise ValueError("a sensitivity needs cases with the finding")
    # 0.9 of 10 is 9 cases, although 0.9 * 10 may be a hair more than 9.
    wanted = max(1, math.ceil(sensitivity * positive.size - 1e-9))
    lowest_found = float(positive[wanted - 1])
    lower = probability[probability < lowest_found]
    cut = lowest_found if lower.size == 0 else (lowest_found + float(lower.max())) / 2.0
    return measure_point(target, probability, cut)
