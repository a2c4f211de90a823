"""Measures what the engine makes of an NVIDIA GPU: `python -m bench.gpu`; fails without one.

- The device's ceilings: 32-bit multiplications and additions, memory traffic, copies to it.
- Every package that is shipped is loaded on it, so that its test vectors have to hold there.
- A run of each network, plain, with bound memory, recorded (CUDA graphs) and in 16 bits, beside
  the roofline: the least time that arithmetic and traffic allow.
- The engine with many clients beside a loop that runs one full batch after the other.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray
from onnx import helper
from rich.console import Console
from rich.table import Table

from bench.engine.__main__ import bare, served
from bench.gpu.roofline import Ceilings, count_work
from bench.gpu.utilisation import Watch, watching
from bench.serving.networks import MEDIUM, TINY, make_package
from shared.inference import Engine, ModelPackage, load_package
from shared.inference.devices import Device, DeviceUnavailable, choose_device
from shared.inference.pinned import pinned_buffer
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Runnable, Session
from shared.inference.sessions import create_session
from shared.inference.variants import NotMade, as_fp16
from shared.inference.warmup import GPU_CAPACITY

_SHIPPED = "services/*/models/*/model.yaml"
_SIDE = 8192
_MATRIX_FLOPS = 2.0 * _SIDE**3
_NUMBERS = 1 << 28
_COPIED_MB = 64


@dataclass(frozen=True, slots=True)
class Ran:
    """Runs of one size of batch in one way."""

    run_ms: float
    deviation: float
    """The largest difference of an output from the processor's, of the first picture."""
    busy: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.4, help="of each way and batch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32, 64, 128])
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    console = Console(width=130)
    try:
        device = choose_device("cuda")
    except DeviceUnavailable as why:
        sys.exit(str(why))
    with ExitStack() as opened:
        watch = opened.enter_context(watching(device.ordinal))
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        ceilings = _measure_ceilings(device, console)
        shipped = [load_package(path.parent) for path in sorted(Path().glob(_SHIPPED))]
        _load_on(device, shipped, console)
        made = [load_package(make_package(folder / each.name, each)) for each in (TINY, MEDIUM)]
        for package in (*made, *shipped):
            _compare_ways(package, device, ceilings, watch, options, console)
        for package in made:
            _compare_engine(package, device, watch, options, console)


def _measure_ceilings(device: Device, console: Console) -> Ceilings:
    square = [_SIDE, _SIDE]
    flops, half_flops = (
        _MATRIX_FLOPS / _on_device_s(_graph("MatMul", 2, square, number), device, [square] * 2)
        for number in (np.float32, np.float16)
    )
    negated = _graph("Neg", 1, [_NUMBERS], np.float32)
    traffic = 2.0 * 4 * _NUMBERS / _on_device_s(negated, device, [[_NUMBERS]])
    console.print(
        f"{device}, ONNX Runtime {ort.__version__}: {flops / 1e12:.1f} TFLOP/s in 32 bits and "
        f"{half_flops / 1e12:.0f} in 16 (product of {_SIDE} x {_SIDE}), "
        f"{traffic / 1e9:,.0f} GB/s of its memory"
    )
    shape = (_COPIED_MB << 18,)
    value = ort.OrtValue.ortvalue_from_shape_and_type(
        list(shape), np.float32, device.kind, device.ordinal
    )
    for name, source in (
        ("ordinary", np.ones(shape, np.float32)),
        ("pinned", pinned_buffer(shape, device.ordinal)),
    ):
        source[:] = 1
        took_s = _least_s(partial(value.update_inplace, source))
        console.print(f"to the device from {name} memory: {_COPIED_MB / 1024 / took_s:.1f} GB/s")
    return Ceilings(flops, half_flops, traffic)


def _graph(kind: str, inputs: int, shape: list[int], number: type[np.floating[Any]]) -> bytes:
    names = [f"in{index}" for index in range(inputs)]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(number))
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["out"])],
        number.__name__,
        [helper.make_tensor_value_info(name, element, shape) for name in names],
        [helper.make_tensor_value_info("out", element, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _on_device_s(network: bytes, device: Device, shapes: Sequence[list[int]]) -> float:
    """The least time of a run whose inputs and output stay on the device."""
    session = ort.InferenceSession(network, providers=[*device.providers])
    binding = session.io_binding()
    random = np.random.default_rng(0)
    for number, shape in enumerate(shapes):
        kind = np.float16 if "float16" in session.get_inputs()[number].type else np.float32
        noise = random.random(shape, np.float32).astype(kind)
        value = ort.OrtValue.ortvalue_from_numpy(noise, device.kind, device.ordinal)
        binding.bind_ortvalue_input(f"in{number}", value)
    binding.bind_output("out", device.kind, device.ordinal)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return _least_s(run)


def _least_s(run: Callable[[], object], times: int = 10) -> float:
    run()
    took_s = []
    for _ in range(times):
        began_at = time.perf_counter()
        run()
        took_s.append(time.perf_counter() - began_at)
    return min(took_s)


def _load_on(device: Device, packages: Sequence[ModelPackage], console: Console) -> None:
    """Load every package as a service would: its test vectors run on the device."""
    with Engine(str(device)) as engine:
        for package in packages:
            began_at = time.perf_counter()
            network = engine.load(package)
            console.print(
                f"{package.name}: vectors hold on {engine.device}, full run of "
                f"{network.plan.capacity} in {network.plan.run_s * 1e3:.2f} ms, loaded in "
                f"{time.perf_counter() - began_at:.1f} s"
            )


def _compare_ways(
    package: ModelPackage,
    device: Device,
    ceilings: Ceilings,
    watch: Watch,
    options: argparse.Namespace,
    console: Console,
) -> None:
    work = count_work(package.read_network())
    reference = Session(package.read_network(), [(CPU_PROVIDER, {})], threads_per_run=8)
    table = Table(
        title=f"{package.name}: {work.flops / 1e9:.2f} GFLOP and {work.activation_bytes / 1e6:.1f} "
        f"MB a picture, {work.weight_bytes / 1e6:.1f} MB of weights",
        title_justify="left",
    )
    table.add_column("way")
    for heading in (
        "batch", "run ms", "pictures/s", "TFLOP/s", "roofline ms", "of roofline", "GPU busy",
        "deviation",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    shape = package.preprocess.shape
    pictures = np.random.default_rng(3).random((max(options.batches), *shape), np.float32)
    name = package.manifest.input.name
    for way, session, in_half in _ways(package, device, console):
        for batch in options.batches:
            part = pictures[:batch]
            try:
                ran = _run(session, name, part, reference, watch, options.seconds)
            except NetworkFailed as why:
                console.print(f"{package.name}, {way}, {batch} pictures: {str(why)[:300]}")
                break
            floor_ms = work.floor_s(batch, ceilings, in_half=in_half) * 1e3
            table.add_row(
                way,
                str(batch),
                f"{ran.run_ms:.3f}",
                f"{batch / ran.run_ms * 1e3:,.0f}",
                f"{batch * work.flops / ran.run_ms / 1e9:.2f}",
                f"{floor_ms:.3f}",
                f"{floor_ms / ran.run_ms:.2f}",
                f"{ran.busy:.0%}",
                f"{ran.deviation:.1e}",
            )
    console.print(table)


def _ways(
    package: ModelPackage, device: Device, console: Console
) -> Iterator[tuple[str, Runnable, bool]]:
    network = package.read_network()
    recorded = replace(device, replays=True)
    yield "session.run", Session(network, device.providers, 1), False
    yield "bound", create_session(network, device), False
    try:
        yield "bound, recorded", create_session(network, recorded), False
    except NetworkFailed as why:
        console.print(f"{package.name} is not recorded: {str(why)[:300]}")
    try:
        halved = as_fp16(network)
        yield "16 bits", create_session(halved, device), True
        yield "16 bits, recorded", create_session(halved, recorded), True
    except (NotMade, NetworkFailed) as why:
        console.print(f"{package.name} in 16 bits: {str(why)[:300]}")


def _run(
    session: Runnable,
    name: str,
    batch: NDArray[np.float32],
    reference: Runnable,
    watch: Watch,
    seconds: float,
) -> Ran:
    feeds = {name: batch}
    expected = reference.run({name: batch[:1]})
    found = session.run(feeds)
    deviation = max(
        float(np.abs(found[output][:1] - expected[output]).max()) for output in expected
    )
    for _ in range(3):
        session.run(feeds)
    began_at = time.perf_counter()
    took: list[float] = []
    while (started_at := time.perf_counter()) < began_at + seconds:
        session.run(feeds)
        took.append(time.perf_counter() - started_at)
    return Ran(
        run_ms=float(np.median(took)) * 1e3,
        deviation=deviation,
        busy=watch.busy_since(began_at),
    )


def _compare_engine(
    package: ModelPackage,
    device: Device,
    watch: Watch,
    options: argparse.Namespace,
    console: Console,
) -> None:
    """Clients of the engine beside full batches one after the other."""
    shape = package.preprocess.shape
    tensor = np.random.default_rng(4).random((1, *shape), np.float32)
    full = pinned_buffer((GPU_CAPACITY, *shape), device.ordinal)
    full[:] = tensor
    session = create_session(package.read_network(), device)
    name = package.manifest.input.name
    with Engine(str(device), waiting_limit=1024) as engine:
        asyncio.run(served(engine, package, tensor, 4, 0.2))
        for clients in options.clients:
            size = min(clients, GPU_CAPACITY)
            alone = bare(partial(session.run, {name: full[:size]}), 1, 1.5, size)
            began_at = time.perf_counter()
            through = asyncio.run(served(engine, package, tensor, clients, 1.5))
            console.print(
                f"{package.name}, {clients:3} clients: full batches {alone.per_s:7,.0f}/s, engine "
                f"{through.per_s:7,.0f}/s ({through.per_s / alone.per_s:.2f}), p50 "
                f"{through.p50_ms:.2f} ms, p99 {through.p99_ms:.2f} ms, GPU "
                f"{watch.busy_since(began_at):.0%}"
            )


if __name__ == "__main__":
    main()
