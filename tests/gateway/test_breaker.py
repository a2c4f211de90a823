"""When a service is left alone, and when a request is tried again."""

from gateway.breaker import Breaker, RetryBudget


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker()

    opened = [breaker.failed(now=1.0) for _ in range(5)]

    assert opened == [False, False, False, False, True]
    assert breaker.is_open


def test_half_of_many_failing_opens_it_though_none_are_in_a_row() -> None:
    breaker = Breaker()

    for _ in range(20):
        breaker.succeeded()
        breaker.failed(now=1.0)

    assert breaker.is_open


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()

    for _ in range(100):
        breaker.failed(now=1.0)
        for _ in range(3):
            breaker.succeeded()

    assert not breaker.is_open


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    for second in range(0, 1000, 11):
        breaker.failed(now=float(second))
        breaker.succeeded()

    assert not breaker.is_open


def test_probes_that_fail_come_a_little_less_often_and_no_less() -> None:
    breaker = Breaker()
    breaker.open(now=0.0)
    assert breaker.probe_at == 0.25

    pauses = []
    for _ in range(6):
        breaker.probe_failed(now=0.0)
        pauses.append(breaker.probe_at)

    assert pauses == [0.5] * 6
    breaker.close()
    assert not breaker.is_open


def test_retries_are_a_tenth_of_the_requests() -> None:
    budget = RetryBudget()
    while budget.take():
        pass

    for _ in range(100):
        budget.requested()
    retries = sum(budget.take() for _ in range(100))

    assert 9 <= retries <= 10
