"""What bench/gpu counts: a network's work, its least time, and how busy a GPU was."""

import time

import pytest

from bench.gpu.roofline import Ceilings, Work, count_work
from bench.gpu.utilisation import Watch, watching
from tests.shared.inference.test_variants import convolving


def test_the_work_of_a_network_is_counted_node_by_node() -> None:
    """Two convolutions of 8 x 8 px with four filters, a mean of four channels, two logits."""
    work = count_work(convolving().SerializeToString())

    assert work.flops == 2 * (64 * 4 * 9 + 64 * 4 * 36 + 2 * 4)
    # image, first, second (its rectifier reads nothing anew), mean and logits: in and out.
    numbers = (64 + 256) + (256 + 256) + (256 + 4) + (4 + 2)
    assert work.activation_bytes == 4 * numbers
    assert work.weight_bytes == 4 * (4 * 9 + 16 * 9 + 8)


def test_the_longer_of_arithmetic_and_traffic_is_the_least_time() -> None:
    ceilings = Ceilings(flops_per_s=100, half_flops_per_s=1000, bytes_per_s=50)

    assert Work(300, 40, 20).floor_s(1, ceilings) == 3
    assert Work(100, 90, 20).floor_s(1, ceilings) == pytest.approx(110 / 50)
    assert Work(100, 90, 20).floor_s(2, ceilings) == pytest.approx(200 / 50)
    assert Work(300, 40, 20).floor_s(1, ceilings, in_half=True) == pytest.approx(30 / 50)


def test_a_watch_knows_what_was_said_since() -> None:
    watch = Watch()
    watch.follow(iter(["90", "[N/A]", "30"]))

    assert watch.busy_since(time.perf_counter() - 1) == pytest.approx(0.6)
    assert watch.busy_since(time.perf_counter()) == 0


def test_without_a_driver_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with watching() as watch:
        assert watch.samples == []
