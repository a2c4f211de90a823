"""Cuts of the probability."""

import numpy as np
import pytest

from shared.evaluation.thresholds import fit_point, measure_point

TARGET = np.array([True, True, True, False, False, False, False])
PROBABILITY = np.array([0.9, 0.6, 0.3, 0.7, 0.3, 0.2, 0.1])


def test_a_case_on_the_cut_is_reported() -> None:
    """As the service decides: probability >= operating point."""
    point = measure_point(TARGET, PROBABILITY, 0.6)

    assert (point.sensitivity.hits, point.sensitivity.n) == (2, 3)
    assert (point.specificity.hits, point.specificity.n) == (3, 4)
    assert (point.positive_predictive_value.hits, point.positive_predictive_value.n) == (2, 3)
    assert (point.negative_predictive_value.hits, point.negative_predictive_value.n) == (3, 4)


def test_a_cut_above_everything_reports_nothing() -> None:
    point = measure_point(TARGET, PROBABILITY, 0.95)

    assert point.sensitivity.value == 0.0
    assert point.positive_predictive_value.value is None


@pytest.mark.parametrize(
    ("sensitivity", "found", "specificity", "cut"),
    [(0.3, 1, 1.0, 0.8), (0.5, 2, 0.75, 0.45), (0.67, 3, 0.5, 0.25), (1.0, 3, 0.5, 0.25)],
)
def test_the_fitted_cut_is_the_highest_that_finds_enough(
    sensitivity: float, found: int, specificity: float, cut: float
) -> None:
    """It lies between two probabilities, so that rounding moves no case."""
    point = fit_point(TARGET, PROBABILITY, sensitivity)

    assert point.sensitivity.hits == found
    assert point.specificity.value == specificity
    assert point.probability == pytest.approx(cut)


def test_nine_of_ten_are_nine_tenths() -> None:
    """0.9 * 10 is not rounded up to ten by its last binary digit."""
    probability = np.linspace(0.1, 1, 10)
    point = fit_point(np.full(10, True), probability, 0.9)

    assert point.sensitivity.hits == 9


def test_a_cut_below_everything_is_the_lowest_probability() -> None:
    point = fit_point(np.array([True, False]), np.array([0.2, 0.8]), 1.0)

    assert point.probability == 0.2
    assert point.specificity.value == 0.0


@pytest.mark.parametrize("sensitivity", [0.0, 1.1])
def test_an_impossible_sensitivity_is_an_error(sensitivity: float) -> None:
    with pytest.raises(ValueError, match="target sensitivity"):
        fit_point(TARGET, PROBABILITY, sensitivity)


def test_without_positives_nothing_is_fitted() -> None:
    with pytest.raises(ValueError, match="with the finding"):
        fit_point(~TARGET & False, PROBABILITY, 0.9)
