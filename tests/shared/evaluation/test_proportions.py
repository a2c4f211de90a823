"""Wilson's interval."""

import pytest

from shared.evaluation.proportions import proportion


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_published_intervals(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    found = proportion(hits, n)

    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_none_of_none_is_no_figure() -> None:
    found = proportion(0, 0)

    assert found.value is None
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_the_ends_are_exact_and_mirror_each_other(n: int) -> None:
    none, all_ = proportion(0, n), proportion(n, n)

    assert (none.low, all_.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - all_.low)


@pytest.mark.parametrize(("hits", "n"), [(-1, 3), (4, 3)])
def test_more_hits_than_cases_is_an_error(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        proportion(hits, n)
