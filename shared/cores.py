"""How many processor cores there are for us, and who gets them: asked in one place.

The platform's processes divide the machine (`VEDETTE_THREADS` of each says its part); inside a
process, running networks and decoding pictures divide that part. Standard library only, so that
asking costs no import.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cores:
    """What one process may keep busy, divided between its two kinds of work."""

    inference: int
    """Threads that run networks, over all networks of the process."""
    decoding: int
    """Threads that decode and prepare pictures."""


def divide_cores(threads: int | None = None, *, on_gpu: bool = False) -> Cores:
    """Divide a process's cores.

    On the processor every core may run a network and every core may decode: which of the two is
    short changes with the pictures, and a core that waits for its kind of work is worse than one
    that two threads share for a moment. With a GPU one thread feeds it and all cores decode.

    Args:
        threads: the process's part of the machine (`VEDETTE_THREADS`); None for all of it.
        on_gpu: whether networks run on a GPU.
    """
    cores = threads or usable_cores()
    if on_gpu:
        return Cores(inference=1, decoding=cores)
    return Cores(inference=cores, decoding=cores)


def share_of_cores(cores: int, sharers: int) -> int:
    """The part of `cores` that each of `sharers` busy processes gets; at least one."""
    return max(1, cores // max(1, sharers))


def usable_cores(
    groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """How many cores this process may keep busy: its affinity and its control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota_cores(groups, membership)
    return max(1, min(cores, math.floor(quota) if quota is not None else cores))


def _quota_cores(groups: Path, membership: Path) -> float | None:
    """The tightest CPU quota of the process's control group and the groups above it."""
    quotas = [
        quota
        for folder in _group_folders(groups, membership)
        if (quota := _quota_of(folder)) is not None
    ]
    return min(quotas, default=None)


def _group_folders(groups: Path, membership: Path) -> list[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree; version 1 has a tree per controller.
        root = groups if not controllers else groups / "cpu"
        path = root / place.lstrip("/")
        folders += [path, *(parent for parent in path.parents if parent.is_relative_to(root))]
    return folders


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
