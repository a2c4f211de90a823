"""Whether probabilities mean what they say."""

from dataclasses import dataclass

import numpy as np

from shared.evaluation.proportions import Proportion, proportion
from shared.evaluation.ranking import Scores, Targets, middle_ranks

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Cases with similar probabilities: what was said and what was so."""

    mean_probability: float
    observed: Proportion


def brier_score(target: Targets, probability: Scores) -> float:
    """The mean squared distance between probability and outcome; 0 is best.

    Source:
        Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather
        Review 78 (1950) 1-3, for one of two outcomes.
    """
    return float(np.mean((probability - target) ** 2))


def brier_of_prevalence(target: Targets) -> float:
    """The Brier score of a constant that always says the prevalence."""
    prevalence = float(target.mean())
    return prevalence * (1.0 - prevalence)


def reliability(
    target: Targets, probability: Scores, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Cases in bins of equally many by rising probability, as far as equal ones allow.

    Equal probabilities stay together, so the bins do not depend on the order of the cases.
    """
    place = np.floor((middle_ranks(probability) - 0.5) / probability.size * bins).astype(int)
    found = []
    for number in np.unique(place):
        inside = place == number
        observed = proportion(int(target[inside].sum()), int(inside.sum()))
        found.append(ReliabilityBin(float(probability[inside].mean()), observed))
    return tuple(found)


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """The expected calibration error: the mean gap of the bins, weighted by their cases.

    Bins of equally many cases are used rather than of equal width, because small probabilities
    would all fall into one of those.

    Source:
        Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language
        processing models", EMNLP 2015: bins of equal mass.
    """
    gaps = sum(
        each.observed.n * abs(each.mean_probability - each.observed.hits / each.observed.n)
        for each in bins
    )
    return gaps / sum(each.observed.n for each in bins)
