"""Compares the engine with the best bare loop, interleaved in one process.

    python -m bench.engine [--seconds 2] [--rounds 5] [--threads 2]

Three kinds of network: `tiny` costs next to nothing, so that only overhead is left; `medium` is a
convolutional network of about ten milliseconds, measured against as many single-threaded bare
loops as there are callers; `device` occupies an accelerator rather than the processor: its runs
sleep, at most 32 pictures each. The machine's other work disturbs all of them alike: read ratios.
"""

import argparse
import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from bench.engine.networks import build_package, corner_network, medium_network, tiny_network
from shared.inference import Engine, EngineBusy, ModelPackage, load_package
from shared.inference.devices import Device
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.inference.warmup import GPU_CAPACITY

_IMAGES_PER_S = 2880.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one loop achieved."""

    per_s: float
    p50_ms: float
    p99_ms: float


class SleepingDevice:
    """An accelerator that takes its time and leaves the processor alone."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Answer each picture with its first pixel."""
        (batch,) = feeds.values()
        time.sleep(device_s(len(batch)))
        first = batch[:, :1, 0, 0]
        return {"logits": np.concatenate([first, -first], axis=1)}


def device_s(pictures: int) -> float:
    """How long the sleeping device needs: a fixed part and one per picture."""
    full_s = GPU_CAPACITY / _IMAGES_PER_S
    fixed_s = full_s * 0.3
    return fixed_s + (full_s - fixed_s) * pictures / GPU_CAPACITY


def bare(run: Callable[[], object], callers: int, seconds: float, pictures: int = 1) -> Figures:
    """Run without an engine, in as many threads as there are callers."""
    waits: list[float] = []
    until = time.perf_counter() + seconds

    def loop() -> None:
        while (began_at := time.perf_counter()) < until:
            run()
            waits.append(time.perf_counter() - began_at)

    began_at = time.perf_counter()
    threads = [threading.Thread(target=loop) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _figures(waits, time.perf_counter() - began_at, pictures)


async def served(
    engine: Engine, package: ModelPackage, tensor: NDArray[np.float32], clients: int, seconds: float
) -> Figures:
    """Run through the engine, from as many clients that each wait for their answer."""
    network = engine.load(package)
    waits: list[float] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        while (began_at := time.perf_counter()) < until:
            try:
                await network.run(tensor)
            except EngineBusy:
                await asyncio.sleep(0.01)
                continue
            waits.append(time.perf_counter() - began_at)

    began_at = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return _figures(waits, time.perf_counter() - began_at, 1)


def _figures(waits: list[float], took_s: float, pictures: int) -> Figures:
    waits.sort()
    return Figures(
        len(waits) * pictures / took_s,
        waits[len(waits) // 2] * 1e3,
        waits[int(len(waits) * 0.99)] * 1e3,
    )


def _sleeping(network: bytes, device: Device) -> SleepingDevice:
    return SleepingDevice()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("cpu", "device"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        on_cpu = (
            ()
            if chosen.only == "device"
            else (("tiny", tiny_network()), ("medium", medium_network()))
        )
        for name, network in on_cpu:
            package = load_package(build_package(Path(folder) / name, name, network))
            compare_on_cpu(package, chosen.seconds, chosen.rounds, chosen.threads)
        if chosen.only == "cpu":
            return
        package = load_package(build_package(Path(folder) / "device", "device", corner_network()))
        compare_on_device(package, chosen.seconds, chosen.rounds)


def compare_on_cpu(package: ModelPackage, seconds: float, rounds: int, threads: int) -> None:
    """One caller per thread against one bare loop per thread."""
    session = Session(package.read_network(), [(CPU_PROVIDER, {})], threads_per_run=1)
    tensor = np.zeros((1, *package.preprocess.shape), np.float32)
    name = package.manifest.input.name

    def run() -> object:
        return session.run({name: tensor})

    rows: dict[str, list[tuple[Figures, Figures]]] = {}
    with Engine("cpu", threads=threads) as engine:
        for _ in range(rounds):
            for clients in (1, 32):
                alone = bare(run, min(clients, threads), seconds)
                through = asyncio.run(served(engine, package, tensor, clients, seconds))
                rows.setdefault(f"{package.manifest.id}, {clients} clients", []).append(
                    (alone, through)
                )
    _print(rows)


def compare_on_device(package: ModelPackage, seconds: float, rounds: int) -> None:
    """Full batches one after the other, against 64 clients who send single pictures."""
    tensor = np.zeros((1, *package.preprocess.shape), np.float32)
    full = np.zeros((GPU_CAPACITY, *package.preprocess.shape), np.float32)
    device = SleepingDevice()
    rows: dict[str, list[tuple[Figures, Figures]]] = {}
    with Engine("cpu", open_session=_sleeping) as engine:
        engine.device = Device("simulated", 0, callers=1, threads_per_run=1, why="it sleeps")
        for _ in range(rounds):
            for clients in (64, 128):
                alone = bare(lambda: device.run({"image": full}), 1, seconds, GPU_CAPACITY)
                through = asyncio.run(served(engine, package, tensor, clients, seconds))
                rows.setdefault(f"device, {clients} clients", []).append((alone, through))
    _print(rows)


def _print(rows: dict[str, list[tuple[Figures, Figures]]]) -> None:
    for title, pairs in rows.items():
        shares = sorted(through.per_s / alone.per_s for alone, through in pairs)
        added_ms = median(through.p50_ms - alone.p50_ms for alone, through in pairs)
        p99_ms = median(through.p99_ms for _, through in pairs)
        late = median(through.p99_ms / through.p50_ms for _, through in pairs)
        print(
            f"{title:22} bare {median(alone.per_s for alone, _ in pairs):8.0f}/s  "
            f"engine {median(through.per_s for _, through in pairs):8.0f}/s  "
            f"share {median(shares):.2f} ({shares[0]:.2f}-{shares[-1]:.2f})  "
            f"p50 {median(through.p50_ms for _, through in pairs):.3f} ms ({added_ms:+.3f})  "
            f"p99 {p99_ms:.2f} ms = {late:.2f} p50",
            flush=True,
        )


if __name__ == "__main__":
    main()
