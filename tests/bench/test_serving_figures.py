"""The arithmetic of bench/serving: what a table says must follow from what was measured."""

import json

import pytest

from bench.serving.client import Answer, count_mixed, to_overloaded
from bench.serving.figures import LIMIT, Load, Measured, percentile, summarise, to_json, to_table


def measured(per_s: float, p50_ms: float = 1.0, failed: int = 0) -> Measured:
    return Measured(per_s=per_s, p50_ms=p50_ms, p99_ms=2 * p50_ms, cpu_ms=0.1, failed=failed)


def test_shares_are_taken_within_a_round() -> None:
    """A machine that slows down for a round slows the limit down as well."""
    found = summarise(
        [measured(90), measured(45), measured(100)], [measured(100), measured(50), measured(200)]
    )

    assert found.share == pytest.approx(0.9)
    assert (found.lowest_share, found.highest_share) == pytest.approx((0.5, 0.9))
    assert found.per_s == 90


def test_added_time_is_what_the_median_answer_takes_beyond_the_limit() -> None:
    found = summarise(
        [measured(1, 3.0), measured(1, 9.0), measured(1, 4.0)],
        [measured(1, 2.5), measured(1, 8.0), measured(1, 2.0)],
    )

    assert found.added_ms == pytest.approx(1.0)


def test_failures_of_all_rounds_are_shown() -> None:
    found = summarise([measured(1, failed=2), measured(1, failed=1)], [measured(1), measured(1)])

    assert found.failed == 3


@pytest.mark.parametrize(("share", "expected"), [(0.5, 3), (0.99, 5), (0.0, 1), (1.0, 5)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([1, 2, 3, 4, 5], share) == expected


def test_a_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.5) == 0


def test_the_file_has_a_record_for_every_target_of_every_load() -> None:
    load = Load("tiny", "picture", 8)
    records = to_json({load: {LIMIT: [measured(10)], "Vedette": [measured(9)]}})

    assert [record["target"] for record in records] == [LIMIT, "Vedette"]
    assert json.loads(json.dumps(records))[1]["summary"]["share"] == pytest.approx(0.9)


def test_the_table_has_a_row_for_every_target() -> None:
    table = to_table(Load("tiny", "picture", 8), {LIMIT: [measured(10)], "Vedette": [measured(9)]})

    assert table.row_count == 2


def answer(status: int, sent_at: float, took_s: float, body: bytes = b"") -> Answer:
    return Answer(status, sent_at, took_s, body)


def test_goodput_counts_neither_the_first_second_nor_what_came_after_the_sending() -> None:
    """Queues fill at first and empty at last; neither is what a server sustains."""
    answers = [answer(200, sent_at, 0.25) for sent_at in (10.0, 11.0, 12.0, 13.0, 13.9)]

    found = to_overloaded(answers, seconds=4.0)

    assert found.good_per_s == pytest.approx(3 / 3.0)
    assert found.sent_per_s == pytest.approx(5 / 4.0)


def test_a_refusal_is_neither_an_answer_nor_a_failure() -> None:
    answers = [
        answer(200, 0.0, 2.0),
        answer(503, 0.0, 0.01),
        answer(503, 0.0, 0.02),
        answer(0, 0.0, 9.0),
        answer(504, 0.0, 9.0),
    ]

    found = to_overloaded(answers, seconds=4.0)

    assert found.refused_share == pytest.approx(0.4)
    assert found.refused_p99_ms == pytest.approx(20)
    assert found.accepted_p99_ms == pytest.approx(2000)
    assert (found.late, found.failed) == (1, 1)


def test_an_answer_that_is_put_together_from_two_versions_is_counted() -> None:
    known = {"old": [1.0, 2.0], "new": [3.0, 4.0]}
    bodies = [
        {"network": "old", "logits": [1.0, 2.0]},
        {"network": "new", "logits": [1.0, 2.0]},
        {"network": "other", "logits": [1.0, 2.0]},
    ]
    answers = [answer(200, 0.0, 0.1, json.dumps(body).encode()) for body in bodies]

    assert count_mixed(answers, known, tolerance=1e-3) == 2
