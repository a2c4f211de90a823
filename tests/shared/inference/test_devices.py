"""The device is chosen by the setting and by what is there; cores by what the process may use."""

import os
from pathlib import Path

import pytest

from shared.inference.devices import DeviceUnavailable, choose_device, usable_cores


def group(root: Path, quota: str) -> Path:
    """A version 2 control group with a CPU quota."""
    folder = root / "box" / "inner"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("max 100000\n")
    (folder.parent / "cpu.max").write_text(f"{quota} 100000\n")
    membership = root / "membership"
    membership.write_text("0::/box/inner\n")
    return membership


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("150000", 1), ("50000", 1)])
def test_a_quota_of_any_group_above_counts(tmp_path: Path, quota: str, cores: int) -> None:
    """More threads than the quota only get throttled together."""
    assert usable_cores(tmp_path, group(tmp_path, quota)) == cores


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    affinity = len(os.sched_getaffinity(0))

    assert usable_cores(tmp_path, group(tmp_path, "max")) == affinity
    assert usable_cores(tmp_path, tmp_path / "absent") == affinity


def test_the_old_form_of_quotas_counts_too(tmp_path: Path) -> None:
    folder = tmp_path / "cpu" / "box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("100000")
    (folder / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "membership").write_text("3:cpu,cpuacct:/box\n2:memory:/box\n")

    assert usable_cores(tmp_path, tmp_path / "membership") == 1


def test_the_processor_has_a_caller_per_core() -> None:
    """Single-threaded runs beside each other beat one run on all cores."""
    device = choose_device("cpu", threads=3)

    assert (device.callers, device.threads_per_run, str(device)) == (3, 1, "cpu")


def test_a_gpu_that_is_not_there_is_an_error_only_when_asked_for() -> None:
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        choose_device("cuda:99")
