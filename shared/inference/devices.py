"""What a network runs on: an NVIDIA GPU when there is one, else the processor cores we may use."""

import ctypes
from dataclasses import dataclass
from functools import cache

import structlog

from shared.cores import divide_cores, usable_cores
from shared.inference.runtime import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    Provider,
    load_cuda_libraries,
    offered_providers,
)

__all__ = ["Device", "DeviceUnavailable", "choose_device", "on_cpu", "usable_cores"]

log = structlog.get_logger(__name__)


class DeviceUnavailable(RuntimeError):
    """The device that `VEDETTE_DEVICE` asks for is not here."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run, how many runs go on at once and how many threads each has."""

    kind: str
    """`cpu` or `cuda`."""
    ordinal: int
    callers: int
    threads_per_run: int
    why: str
    replays: bool = False
    """Whether a network's runs are recorded once and replayed; only a GPU can."""

    @property
    def providers(self) -> list[Provider]:
        """The execution providers for a session on this device."""
        if self.kind == "cpu":
            return [(CPU_PROVIDER, {})]
        settings = {
            "device_id": str(self.ordinal),
            # An exhaustive search stalls 0.3 to 1.3 s on every new shape.
            "cudnn_conv_algo_search": "HEURISTIC",
            # TF32 rounds to ten bits: more than the tolerance of the test vectors.
            "use_tf32": "0",
            "enable_cuda_graph": str(int(self.replays)),
        }
        return [(CUDA_PROVIDER, settings), (CPU_PROVIDER, {})]

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.ordinal}"


def choose_device(wanted: str, threads: int | None = None) -> Device:
    """Choose by `VEDETTE_DEVICE`: `auto`, `cpu`, `cuda` or `cuda:N`.

    On the processor, as many single-threaded runs go on at once as there are cores: faster
    than one run on all cores as soon as two requests overlap. A GPU has one caller.

    Args:
        wanted: the setting.
        threads: cores to use; None for all that the process may use.

    Raises:
        DeviceUnavailable: a GPU is asked for by name and cannot be used.
    """
    if wanted == "cpu":
        return on_cpu(threads, "VEDETTE_DEVICE is cpu")
    ordinal = int(wanted.partition(":")[2] or 0)
    obstacle = _obstacle_to_cuda(ordinal)
    if obstacle is None:
        load_cuda_libraries()
        return Device("cuda", ordinal, callers=1, threads_per_run=1, why="an NVIDIA GPU is here")
    if wanted != "auto":
        raise DeviceUnavailable(f"VEDETTE_DEVICE is {wanted}, but {obstacle}")
    return on_cpu(threads, obstacle)


def on_cpu(threads: int | None, why: str) -> Device:
    """The processor, with one caller per core."""
    return Device("cpu", 0, callers=divide_cores(threads).inference, threads_per_run=1, why=why)


def _obstacle_to_cuda(ordinal: int) -> str | None:
    """Why CUDA cannot be used, asked of the driver: ONNX Runtime would complain on stderr."""
    if CUDA_PROVIDER not in offered_providers():
        return "this ONNX Runtime is built without CUDA"
    gpus = _count_gpus()
    if gpus == 0:
        return "there is no NVIDIA GPU that the driver shows to this process"
    if ordinal >= gpus:
        return f"there are only {gpus} GPUs"
    return None


@cache
def _count_gpus() -> int:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
