"""The cores of the machine are divided in one place."""

import os

import pytest

from shared.cores import Cores, divide_cores, share_of_cores, usable_cores


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_on_the_processor_both_kinds_of_work_may_use_every_core(threads: int) -> None:
    """Which of them is short changes with the pictures."""
    assert divide_cores(threads) == Cores(inference=threads, decoding=threads)


def test_a_gpu_is_fed_by_one_thread_while_the_cores_decode() -> None:
    assert divide_cores(8, on_gpu=True) == Cores(inference=1, decoding=8)


def test_without_a_setting_the_machine_decides() -> None:
    assert divide_cores().inference == usable_cores()
    assert usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("cores", "sharers", "share"), [(8, 3, 2), (2, 5, 1), (4, 0, 4)])
def test_busy_processes_share_and_none_gets_nothing(cores: int, sharers: int, share: int) -> None:
    assert share_of_cores(cores, sharers) == share
