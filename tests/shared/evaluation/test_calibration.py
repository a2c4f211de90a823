"""Brier scores, reliability bins and their error."""

import numpy as np
import pytest

from shared.evaluation.calibration import (
    brier_of_prevalence,
    brier_score,
    calibration_error,
    reliability,
)


def test_the_brier_score_by_hand() -> None:
    target = np.array([True, False, True, False])
    probability = np.array([0.9, 0.2, 0.6, 0.5])

    assert brier_score(target, probability) == pytest.approx((0.01 + 0.04 + 0.16 + 0.25) / 4)


def test_the_constant_prevalence_scores_what_it_says() -> None:
    target = np.array([True, False, False, False])

    assert brier_of_prevalence(target) == pytest.approx(brier_score(target, np.full(4, 0.25)))


def test_bins_hold_equally_many_cases() -> None:
    random = np.random.default_rng(0)
    bins = reliability(random.random(200) < 0.5, random.random(200))

    assert [each.observed.n for each in bins] == [20] * 10
    assert [each.mean_probability for each in bins] == sorted(e.mean_probability for e in bins)


def test_equal_probabilities_stay_in_one_bin_whatever_their_order() -> None:
    """Otherwise the error would depend on how the table is sorted."""
    target = np.array([True] * 10 + [False] * 10)
    probability = np.full(20, 0.5)
    order = np.random.default_rng(0).permutation(20)
    bins = reliability(target, probability)

    assert [each.observed.n for each in bins] == [20]
    assert calibration_error(bins) == pytest.approx(0.0)
    assert reliability(target[order], probability[order]) == bins


def test_the_calibration_error_by_hand() -> None:
    """Bins of two: said 0.15 and was 0.5; said 0.85 and was 0.5."""
    target = np.array([False, True, True, False])
    bins = reliability(target, np.array([0.1, 0.2, 0.8, 0.9]), bins=2)

    assert [each.mean_probability for each in bins] == pytest.approx([0.15, 0.85])
    assert calibration_error(bins) == pytest.approx(0.35)


def test_honest_probabilities_have_a_small_error() -> None:
    """What is drawn with the probability that is said, up to the noise of 1,000 per bin."""
    random = np.random.default_rng(1)
    probability = random.random(10_000)
    target = random.random(10_000) < probability

    assert calibration_error(reliability(target, probability)) < 0.02
