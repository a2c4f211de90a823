"""The soak's verdict: what grows is told, and what only varies is not."""

from dataclasses import replace

import pytest

from bench.serving.soak import MB, Sample, bad_bodies, find_growth, to_table

FLAT = Sample(
    at_s=0, answers=100, p50_ms=10, p99_ms=20, cpu_ms=1, rss_bytes=300 * MB, files=40, threads=12,
    refused=0, failed=0, mixed=0,
)  # fmt: skip


def windows(count: int = 30) -> list[Sample]:
    """So many windows in which nothing changes."""
    return [replace(FLAT, at_s=number) for number in range(count)]


def test_what_stays_the_same_has_not_grown() -> None:
    assert find_growth(windows()) == []


def test_warming_up_is_not_growing() -> None:
    """Allocators and caches fill at first."""
    samples = [
        replace(each, rss_bytes=min(100 + 40 * number, 300) * MB)
        for number, each in enumerate(windows())
    ]

    assert find_growth(samples) == []


def test_a_slow_leak_is_told() -> None:
    samples = [
        replace(each, rss_bytes=(300 + number) * MB) for number, each in enumerate(windows(60))
    ]

    (found,) = find_growth(samples)
    assert found.startswith("memory grew from ")


@pytest.mark.parametrize("member", ["files", "threads"])
def test_one_more_in_every_few_windows_is_told(member: str) -> None:
    """In an hour there are 120 windows."""
    samples = [
        replace(each, **{member: 40 + number // 3}) for number, each in enumerate(windows(120))
    ]

    (found,) = find_growth(samples)
    assert member in found


def test_connections_that_are_kept_for_the_next_crowd_are_no_growth() -> None:
    """How many there are depends on the last one."""
    samples = [
        replace(each, files=60 + (number * 37) % 90) for number, each in enumerate(windows(60))
    ]

    assert find_growth(samples) == []


def test_one_busy_window_is_no_growth() -> None:
    samples = windows()
    samples[-1] = replace(FLAT, rss_bytes=900 * MB, files=400, threads=90, p50_ms=900, cpu_ms=90)

    assert find_growth(samples) == []


def test_neighbours_do_not_make_answers_grow() -> None:
    """They make them late, at the same cost."""
    samples = [replace(each, p50_ms=10 + number) for number, each in enumerate(windows())]

    assert find_growth(samples) == []


def test_answers_that_take_longer_and_cost_more_are_told() -> None:
    samples = [
        replace(each, p50_ms=10 + number, cpu_ms=1 + number / 10)
        for number, each in enumerate(windows())
    ]

    (found,) = find_growth(samples)
    assert found.startswith("answers grew from ")


def test_the_table_has_the_first_window_and_the_last() -> None:
    table = to_table("soak", windows(100))
    times = list(table.columns[0].cells)

    assert (times[0], times[-1]) == ("0", "99")
    assert len(times) <= 13


def test_bad_bodies_differ() -> None:
    assert len(set(bad_bodies(bytes(range(200)) * 4))) == 4
