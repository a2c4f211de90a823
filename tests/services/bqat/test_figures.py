"""The figures of a report and of outliers, against values computed elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from services.bqat.columns import Column, Table, read_table
from services.bqat.domain import Detector, Kept, Place
from services.bqat.outliers import TooFewSamples, find_outliers, tail_parts
from services.bqat.reporting.figures import (
    correlations,
    drift,
    histogram,
    kendall,
    mean_ranks,
    summarise,
)
from services.bqat.reporting.page import Report, to_html


def column(name: str, *values: float | None) -> Column:
    """A measure."""
    figures = [np.nan if value is None else value for value in values]
    return Column(name, np.asarray(figures, np.float32), {}, False)


async def table(*profiles: dict[str, Any]) -> Table:
    """Profiles as columns."""

    async def stream() -> AsyncIterator[Kept]:
        for position, profile in enumerate(profiles):
            await asyncio.sleep(0)
            yield Kept(Place(7, position), profile, "rules")

    return await read_table(stream())


async def test_profiles_become_columns_in_the_order_in_which_they_appear() -> None:
    """A measure that comes late is missing before; words are counted, truth values are flags."""
    found = await table(
        {"file": "a", "ipd": 48, "pose": "Left", "glasses": True, "tag": "x"},
        {"file": "b", "error": ["gone"], "log": [{"load image": "gone"}]},
        {"file": "c", "ipd": 50.5, "pose": "Left", "glasses": False, "late": 3},
    )
    assert [each.name for each in found.columns] == ["ipd", "pose", "glasses", "late"]
    ipd, pose, glasses, late = found.columns
    np.testing.assert_array_equal(ipd.values, np.asarray([48, np.nan, 50.5], np.float32))
    assert (pose.words, pose.missing) == ({"Left": 2}, 1)
    assert (glasses.is_flag, ipd.is_flag) == (True, False)
    assert late.missing == 2
    assert (found.failed, found.failures) == (1, {"load image": 1})
    assert found.place(2) == Place(7, 2)
    assert found.find("UniformImage") is None


def test_a_summary_is_of_the_figures_that_are_there() -> None:
    """Percentiles interpolate linearly, as NumPy's do."""
    found = summarise(column("x", 1, None, 2, 3, 4))
    assert found is not None
    assert (found.count, found.mean, found.low, found.median, found.high) == (4, 2.5, 1, 2.5, 4)
    assert summarise(column("x", None, None)) is None


def test_whole_numbers_are_not_split_by_a_histogram() -> None:
    """And every sample is counted once."""
    found = histogram(column("x", *range(30), 29))
    assert found is not None
    assert found.counts.sum() == 31
    assert set(np.diff(found.edges)) == {1.0}
    assert found.counts[-1] == 2


def test_ranks_and_coefficients_are_those_of_the_textbooks() -> None:
    """Kendall's example with ties: tau-b of these is 0.4714 (5 concordant, 1 discordant of 6)."""
    np.testing.assert_array_equal(mean_ranks(np.asarray([10.0, 20, 20, 5])), [2, 3.5, 3.5, 1])
    matrix = np.array([[12, 1], [2, 4], [1, 7], [12, 1], [2, 0]], np.float64)
    assert kendall(matrix)[0, 1] == pytest.approx(-0.4714045, abs=1e-6)
    rising = [column("a", 1, 2, 3, 4), column("b", 1, 8, 27, 64), column("c", 4, 3, 2, None)]
    found = correlations(rising)
    np.testing.assert_allclose(found["Spearman"][0], [1, 1, -1], atol=1e-12)
    np.testing.assert_allclose(found["Kendall"][0], [1, 1, -1], atol=1e-12)
    assert found["Pearson"][0, 1] == pytest.approx(0.9514, abs=1e-4)


def test_drift_is_nothing_between_equals_and_all_between_strangers() -> None:
    """D is 0 and 1; the stability index of a copy is 0."""
    one = column("x", *range(100))
    same, far = drift(one, one), drift(one, column("x", *range(1000, 1100)))
    assert same is not None
    assert far is not None
    assert (same.largest_gap, same.stability_index, same.median_shift) == (0, 0, 0)
    assert (far.largest_gap, far.median_shift) == (1, 1000)
    assert drift(one, column("x", None)) is None


def strangers() -> np.ndarray[Any, np.dtype[np.float64]]:
    """120 rows of which the 17th is far out in its second column, and the 40th is incomplete."""
    matrix = np.random.default_rng(5).normal(size=(120, 3))
    matrix[17] = [4.0, 25.0, 4.0]
    matrix[40, 0] = np.nan
    return matrix


@pytest.mark.parametrize("detector", list(Detector))
def test_every_detector_finds_the_stranger_and_says_why(detector: Detector) -> None:
    """Rows without a figure are not judged; shares of a score sum to 1."""
    found = find_outliers(strangers(), ["a", "b", "c"], detector, contamination=0.05)

    assert found.outliers[0] == 17
    assert found.contributions[0]["b"] >= 0.3
    assert sum(found.contributions[0].values()) == pytest.approx(1, abs=1e-3)
    assert np.isnan(found.scores[40])
    assert found.scores[17] > found.threshold


def test_ecod_and_copod_are_pyod_s() -> None:
    """To the last digits, row by row and column by column."""
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD

    matrix = np.random.default_rng(6).gamma(2.0, size=(300, 4))
    for detector, model in ((Detector.ECOD, ECOD()), (Detector.COPOD, COPOD())):
        model.fit(matrix)
        np.testing.assert_allclose(tail_parts(matrix, detector), model.O, rtol=1e-9)


def test_too_few_or_equal_samples_have_no_outlier() -> None:
    """Instead of an answer that means nothing."""
    with pytest.raises(TooFewSamples):
        find_outliers(np.ones((9, 1)), ["a"])
    with pytest.raises(TooFewSamples):
        find_outliers(np.ones((50, 2)), ["a", "b"])


def report(name: str, *columns: Column) -> Report:
    """A report of some columns."""
    return Report(
        name,
        "face",
        len(columns[0].values),
        len(columns[0].values),
        0,
        {"rules": 1},
        {},
        columns,
        datetime(2026, 11, 26, tzinfo=UTC),
    )


def test_a_page_of_one_sample_and_of_two_datasets_is_made() -> None:
    """Nothing divides by what is not there."""
    tiny = to_html(report("tiny", column("ipd", 48), column("none", None)))
    both = to_html(
        report("one", column("ipd", *range(50))), report("two", column("ipd", *range(25, 75)))
    )
    assert "Missing values" in tiny
    assert "compared with two" in both
    assert "stability index" in both
