"""ROC areas against pairs counted one by one, published examples and each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.evaluation.ranking import (
    MAX_CORNERS,
    Area,
    area,
    average_precision,
    bootstrap_area,
    delong_area,
    mean_area,
    middle_ranks,
    roc_curve,
)

Cases = tuple[NDArray[np.bool_], NDArray[np.float64]]


def cases(text: str) -> Cases:
    """Cases written as a score and `+` or `-` each: `0.9+ 0.4-`."""
    words = text.split()
    target = np.array([word[-1] == "+" for word in words])
    return target, np.array([float(word[:-1]) for word in words])


#: Hanley and McNeil, Radiology 143 (1982) 29-36, table I: 58 normal and 51 abnormal CT pictures,
#: rated from 1 (definitely normal) to 5 (definitely abnormal).
NORMAL = (33, 6, 6, 11, 2)
ABNORMAL = (3, 2, 2, 11, 33)


@pytest.fixture
def ratings() -> Cases:
    """The published ratings, one case per picture."""
    score = np.repeat(np.tile(np.arange(1.0, 6.0), 2), NORMAL + ABNORMAL)
    return np.repeat([False, True], [sum(NORMAL), sum(ABNORMAL)]), score


def random_cases(seed: int, n: int, *, digits: int = 1) -> Cases:
    """Cases with many ties and some skill."""
    random = np.random.default_rng(seed)
    target = random.random(n) < 0.3
    target[:2] = (True, False)
    return target, np.round(random.normal(size=n) + target, digits)


def area_by_pairs(target: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """The definition: the share of pairs in the right order, ties half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in score[target] for n in score[~target]]
    return float(np.mean(pairs))


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_the_share_of_pairs_in_order(seed: int) -> None:
    target, score = random_cases(seed, 60)

    assert area(target, score) == pytest.approx(area_by_pairs(target, score), abs=1e-12)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40).filter(
        lambda pairs: len({present for present, _ in pairs}) == 2
    )
)
def test_turning_the_scores_around_turns_the_area_around(pairs: list[tuple[bool, int]]) -> None:
    target = np.array([present for present, _ in pairs])
    score = np.array([float(rating) for _, rating in pairs])

    assert area(target, score) + area(target, -score) == pytest.approx(1.0)
    assert area(target, score) == pytest.approx(area_by_pairs(target, score))


def test_equal_values_share_the_middle_rank() -> None:
    np.testing.assert_array_equal(
        middle_ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])), [4.0, 1.0, 4.0, 2.0, 4.0]
    )


def test_delongs_interval_is_the_published_one(ratings: Cases) -> None:
    """Stata Base Reference Manual, `roctab`, on these ratings: 0.8932 (0.83295 to 0.95339)."""
    found = delong_area(*ratings)

    assert found.value == pytest.approx(0.8932, abs=5e-5)
    assert found.low == pytest.approx(0.83295, abs=5e-6)
    assert found.high == pytest.approx(0.95339, abs=5e-6)


def test_delongs_variance_by_hand() -> None:
    """Two positives, three negatives; placements 1 and 2/3, and 1, 1 and 1/2."""
    target, score = cases("0.9+ 0.4+ 0.5- 0.3- 0.1-")
    found = delong_area(target, score)
    variance = np.var([1, 2 / 3], ddof=1) / 2 + np.var([0.5, 1, 1], ddof=1) / 3

    assert found.value == pytest.approx(5 / 6)
    assert found.low == pytest.approx(5 / 6 - 1.959964 * np.sqrt(variance), abs=1e-6)
    assert found.high == 1.0


def test_the_bootstrap_agrees_with_delong_where_cases_are_independent(ratings: Cases) -> None:
    target, score = ratings
    found = bootstrap_area(target, score, [str(place) for place in range(target.size)])
    delong = delong_area(target, score)

    assert found.value == delong.value
    assert found.low == pytest.approx(delong.low, abs=0.01)
    assert found.high == pytest.approx(delong.high, abs=0.01)


def test_copies_of_a_patients_pictures_add_no_certainty(ratings: Cases) -> None:
    """Four copies of each case: the interval by patient stays, DeLong's halves."""
    target, score = ratings
    four_times = np.tile(target, 4), np.tile(score, 4)
    patients = [str(place) for place in range(target.size)] * 4
    once, copied = delong_area(target, score), bootstrap_area(*four_times, patients)

    assert width(copied) == pytest.approx(width(once), rel=0.1)
    assert width(delong_area(*four_times)) == pytest.approx(width(once) / 2, rel=0.05)


def width(found: Area) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def simulated(random: np.random.Generator, patients: int, pictures_each: int) -> Cases:
    """Binormal scores, a third positive; pictures of a patient share most of their noise."""
    target = np.repeat(np.arange(patients) % 3 == 0, pictures_each)
    shared = np.repeat(random.normal(size=patients), pictures_each)
    score = 1.19 * target + np.sqrt(0.8) * shared + np.sqrt(0.2) * random.normal(size=target.size)
    return target, score


def coverage(intervals: list[Area], truth: float) -> float:
    """How many intervals hold the truth."""
    return float(np.mean([(a.low or 0) <= truth <= (a.high or 1) for a in intervals]))


#: The area of two normal distributions 1.19 standard deviations apart: Phi(1.19 / sqrt 2).
TRUE_AREA = 0.7999


def test_delongs_interval_holds_the_truth_as_often_as_it_says() -> None:
    """95 % of 1,000 simulated studies of 600 patients, give or take three standard errors."""
    random = np.random.default_rng(0)
    found = [delong_area(*simulated(random, 600, 1)) for _ in range(1000)]

    assert coverage(found, TRUE_AREA) == pytest.approx(0.95, abs=0.02)


def test_with_repeating_patients_only_the_bootstrap_holds_it() -> None:
    """Four similar pictures of each of 60 patients; DeLong takes them for 240 patients."""
    random = np.random.default_rng(0)
    studies = [simulated(random, 60, 4) for _ in range(200)]
    patients = [str(place // 4) for place in range(240)]
    by_patient = [bootstrap_area(*study, patients, resamples=400) for study in studies]
    by_picture = [delong_area(*study) for study in studies]

    assert coverage(by_patient, TRUE_AREA) == pytest.approx(0.93, abs=0.05)
    assert coverage(by_picture, TRUE_AREA) < 0.8


def test_a_resample_weighs_cases_as_copies_of_them_would() -> None:
    """The area from weights is that of cases copied and sorted again."""
    target, score = random_cases(7, 40)
    clusters = [str(place // 3) for place in range(40)]
    names, cluster_of = np.unique(clusters, return_inverse=True)
    random = np.random.default_rng(0)
    drawn = random.multinomial(names.size, np.full(names.size, 1 / names.size), size=200)
    areas = [
        area(np.repeat(target, times), np.repeat(score, times))
        for times in drawn[:, cluster_of]
        if 0 < times[target].sum() < times.sum()
    ]
    found = bootstrap_area(target, score, clusters, resamples=200)

    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(areas, [2.5, 97.5])))


def test_the_same_data_give_the_same_interval(ratings: Cases) -> None:
    patients = [str(place // 2) for place in range(ratings[0].size)]

    assert bootstrap_area(*ratings, patients) == bootstrap_area(*ratings, patients)


@pytest.mark.parametrize("text", ["0.9+ 0.8+ 0.2- 0.1-", "0.1+ 0.2+ 0.8- 0.9-", "0.9+ 0.5- 0.1-"])
def test_no_interval_where_the_data_determine_none(text: str) -> None:
    """Complete separation and single cases would give an interval of no width."""
    target, score = cases(text)
    patients = ["a", "b", "c", "d"][: target.size]

    for found in (delong_area(target, score), bootstrap_area(target, score, patients)):
        assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("measure", [area, delong_area, roc_curve, average_precision])
@pytest.mark.parametrize("text", ["0.9+ 0.8+", "0.1-", ""])
def test_one_class_alone_cannot_be_ranked(measure: object, text: str) -> None:
    target, score = np.array([c == "+" for c in text if c in "+-"]), np.array([])

    assert callable(measure)
    with pytest.raises(ValueError, match="ranking needs"):
        measure(target, score)


def test_the_curve_has_its_corners_and_no_other_points() -> None:
    target, score = cases("0.9+ 0.8+ 0.7- 0.6+ 0.6- 0.2-")
    curve = roc_curve(target, score)

    assert curve.false_positive_rate == pytest.approx((0, 0, 1 / 3, 2 / 3, 1))
    assert curve.true_positive_rate == pytest.approx((0, 2 / 3, 2 / 3, 1, 1))


def test_the_area_below_the_curve_is_the_area() -> None:
    target, score = random_cases(3, 200)
    curve = roc_curve(target, score)
    below = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)

    assert below == pytest.approx(area(target, score), abs=1e-12)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    target, score = random_cases(5, 5000, digits=9)
    curve = roc_curve(target, score)
    below = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)

    assert len(curve.true_positive_rate) == MAX_CORNERS
    assert (curve.true_positive_rate[0], curve.true_positive_rate[-1]) == (0.0, 1.0)
    assert below == pytest.approx(area(target, score), abs=2e-3)


def test_average_precision_by_hand() -> None:
    """Positives found at precision 1, 2/3 and 3/5."""
    target, score = cases("0.9+ 0.8- 0.7+ 0.6- 0.5+ 0.4-")

    assert average_precision(target, score) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_equal_scores_are_one_step_of_precision() -> None:
    """Whatever their order, a constant score has the precision of the prevalence."""
    target, score = cases("0.5- 0.5+ 0.5- 0.5-")

    assert average_precision(target, score) == pytest.approx(0.25)


def test_the_mean_area_leaves_out_what_is_not_known() -> None:
    """A score of NaN stands for a case whose truth is unknown."""
    first, second = random_cases(1, 50), random_cases(2, 50)
    holes = second[1].copy()
    holes[10:20] = np.nan
    patients = [str(place) for place in range(50)]
    found = mean_area([first, (second[0], holes)], patients)
    known = ~np.isnan(holes)

    assert found.value == pytest.approx(
        (area(*first) + area(second[0][known], second[1][known])) / 2
    )
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
