"""How fast a package's network is on this machine, and in which layout of threads and batches."""

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.imaging import decode
from shared.inference.devices import Device
from shared.inference.files import read_member
from shared.inference.package import ModelPackage
from shared.inference.refusal import Reason
from shared.inference.runtime import NetworkFailed
from shared.inference.sessions import create_session
from shared.inference.vectors import MAX_VECTOR_BYTES

_BATCHES = (2, 4, 8, 16, 32)
_WARM_UPS = 3
_FEWEST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """How runs share the processor.

    Attributes:
        callers: how many runs go on at once.
        threads: how many threads each of them has.
        batch: how many pictures a run takes.
    """

    callers: int
    threads: int
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Speed:
    """What one layout reached."""

    layout: Layout
    pictures_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a picture costs before the network sees it, the median over the test vectors."""

    decode_ms: float
    preprocess_ms: float

    @property
    def total_ms(self) -> float:
        """Both together."""
        return self.decode_ms + self.preprocess_ms


def layouts(package: ModelPackage, device: Device, cores: int) -> list[Layout]:
    """The layouts worth trying: one run alone first, then many at once, then batches."""
    found = [Layout(1, 1)]
    if device.kind == "cpu" and cores > 1:
        found += [Layout(1, cores), Layout(cores, 1)]
    shapes = (*package.graph.inputs.values(), *package.graph.outputs.values())
    if all(shape and shape[0] is None for shape in shapes):
        callers = cores if device.kind == "cpu" else 1
        found += [Layout(callers, 1, batch) for batch in _BATCHES]
    return found


def measure(
    network: bytes, package: ModelPackage, device: Device, layout: Layout, seconds: float
) -> Speed:
    """Run a network for some seconds in one layout, on pictures of the right size.

    Args:
        network: the ONNX bytes; those of the package or of a variant of it.
        package: what it reads.
        device: where it runs.
        layout: see `Layout`.
        seconds: for how long.

    Raises:
        NetworkFailed: the runtime does not take it, or a run failed.
    """
    session = create_session(network, replace(device, threads_per_run=layout.threads))
    batch = _noise(package, layout.batch)
    feeds = {package.manifest.input.name: batch}
    for _ in range(_WARM_UPS):
        session.run(feeds)
    until = time.perf_counter() + seconds
    took_s: list[list[float]] = [[] for _ in range(layout.callers)]
    failures: list[NetworkFailed] = []

    def call(mine: list[float]) -> None:
        try:
            while time.perf_counter() < until or len(mine) < _FEWEST_RUNS:
                started_at = time.perf_counter()
                session.run(feeds)
                mine.append(time.perf_counter() - started_at)
        except NetworkFailed as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(mine,)) for mine in took_s]
    started_at = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - started_at
    if failures:
        raise failures[0]
    runs_s = sorted(run_s for mine in took_s for run_s in mine)
    return Speed(
        layout,
        len(runs_s) * layout.batch / elapsed_s,
        1e3 * _quantile(runs_s, 0.5),
        1e3 * _quantile(runs_s, 0.99),
    )


def measure_preparation(package: ModelPackage, seconds: float) -> Preparation:
    """Decode and prepare the test vectors' pictures, again and again for some seconds."""
    files = [
        read_member(package.folder, vector.input, MAX_VECTOR_BYTES, Reason.MISSING_VECTOR)
        for vector in package.manifest.test_vectors
    ]
    decodes_s: list[float] = []
    preprocesses_s: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(decodes_s) < _FEWEST_RUNS:
        for file in files:
            started_at = time.perf_counter()
            pixels = decode(file, target_px=package.preprocess.target_px).pixels
            decoded_at = time.perf_counter()
            package.preprocess(pixels)
            decodes_s.append(decoded_at - started_at)
            preprocesses_s.append(time.perf_counter() - decoded_at)
    return Preparation(1e3 * statistics.median(decodes_s), 1e3 * statistics.median(preprocesses_s))


def _noise(package: ModelPackage, count: int) -> NDArray[np.float32]:
    """`count` prepared pictures; noise, because a black one may run faster than a real one."""
    channels, height_px, width_px = package.preprocess.shape
    shape = (height_px, width_px) if channels == 1 else (height_px, width_px, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.repeat(package.preprocess(pixels)[None], count, axis=0)


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
