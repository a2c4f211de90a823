"""How many pictures a network runs at once: found by trying, when it is loaded.

A network is only given batches after it has shown that a picture's answer does not depend on its
neighbours; graphs with a fixed batch, or whose outputs have no row per picture, run alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from shared.inference.batching import NewBuffer
from shared.inference.package import ModelPackage
from shared.inference.runtime import NetworkFailed, Runnable

log = structlog.get_logger(__name__)

Run = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]

#: The most pictures in a run where the manifest does not say.
CPU_CAPACITY = 32
GPU_CAPACITY = 32
# On a processor a batch pays where a run is overhead rather than arithmetic: a hop between
# threads costs tens of microseconds. Longer runs are faster alone, because they stay in cache.
_HOP_S = 60e-6
_LONGEST_CPU_BATCH_S = 0.003
_LEAST_GAIN = 0.95
# A hop to another thread and back, and the fight for the interpreter while both run Python, cost
# as much as such a run.
_BRIEF_S = 0.3e-3
_TRIALS = 3
# Sums in another order round otherwise, by some of float32's last bits.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a network is run."""

    capacity: int = 1
    """The most pictures in one run."""
    in_buckets: bool = False
    """Whether runs are padded to powers of two."""
    run_s: float = 0.0
    """What a full run took when it was tried."""
    new_buffer: NewBuffer | None = None
    """Makes staging buffers; None for plain memory."""
    prepares: bool = False
    """Whether the threads that run the network also prepare its pictures.

    A processor that runs pictures one by one has each in its cache then, and no thread beside
    those that compute; it is the layout of a bare loop.
    """
    is_brief: bool = False
    """Whether a run takes so little that the event loop does it sooner than a thread would."""


def plan_batches(
    package: ModelPackage,
    session: Runnable,
    *,
    on_gpu: bool = False,
    new_buffer: NewBuffer | None = None,
) -> BatchPlan:
    """Try batches of growing powers of two, which also warms each of them up.

    On a GPU every size up to the capacity is warmed, since each is planned anew when it is first
    seen. On the processor the sizes grow for as long as a picture gets cheaper by it.
    """
    pictures = _noise(package)
    name = package.manifest.input.name

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return dict(session.run({name: batch}))

    alone_s = _time(partial(run, pictures[:1]))
    plan = BatchPlan(1, in_buckets=on_gpu, run_s=alone_s, new_buffer=new_buffer)
    limit = package.manifest.batch_limit or (GPU_CAPACITY if on_gpu else CPU_CAPACITY)
    pays = on_gpu or alone_s < _LONGEST_CPU_BATCH_S / 2
    if not on_gpu:
        plan = replace(plan, is_brief=alone_s < _BRIEF_S)
    alone = plan if on_gpu or plan.is_brief else replace(plan, prepares=True)
    if limit == 1 or not pays or not _varies(package):
        return alone
    if not _answers_are_independent(run, pictures[:2]):
        log.warning("batches_refused", model=package.name)
        return alone
    per_picture_s = alone_s + _HOP_S
    capacity = 1
    while capacity < limit:
        capacity = min(2 * capacity, limit)
        batch = np.resize(pictures, (capacity, *pictures.shape[1:]))
        try:
            took_s = _time(partial(run, batch))
        except NetworkFailed as error:
            # A GPU without the memory for it, for one.
            log.warning("batch_too_large", model=package.name, pictures=capacity, why=str(error))
            break
        per_picture_now_s = (took_s + _HOP_S) / capacity
        too_long = took_s > _LONGEST_CPU_BATCH_S or per_picture_now_s > _LEAST_GAIN * per_picture_s
        if not on_gpu and too_long:
            break
        per_picture_s = per_picture_now_s
        plan = replace(plan, capacity=capacity, run_s=took_s)
    return plan if plan.capacity > 1 else alone


def _noise(package: ModelPackage) -> NDArray[np.float32]:
    """Two different pictures in the network's own range."""
    channels, height_px, width_px = package.preprocess.shape
    shape = (height_px, width_px) if channels == 1 else (height_px, width_px, 3)
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, shape, np.uint8) for _ in range(2)]
    return np.stack([package.preprocess(picture) for picture in pictures])


def _varies(package: ModelPackage) -> bool:
    """Whether the graph declares a batch axis of any length on its input and all outputs."""
    shapes = (*package.graph.inputs.values(), *package.graph.outputs.values())
    return all(shape and shape[0] is None for shape in shapes)


def _answers_are_independent(run: Run, pair: NDArray[np.float32]) -> bool:
    try:
        together = run(pair)
        alone = [run(pair[:1]), run(pair[1:])]
    except NetworkFailed:
        return False
    return all(
        output.shape[:1] == (2,)
        and np.allclose(
            output,
            np.concatenate([each[name] for each in alone]),
            rtol=_RELATIVE,
            atol=_ABSOLUTE * max(1.0, float(np.abs(output).max(initial=0.0))),
            equal_nan=True,
        )
        for name, output in together.items()
    )


def _time(run: Callable[[], object]) -> float:
    """The least time of a few runs: the rest is what else the machine does."""
    run()
    least_s = float("inf")
    for _ in range(_TRIALS):
        began_at = time.perf_counter()
        run()
        least_s = min(least_s, time.perf_counter() - began_at)
    return least_s
