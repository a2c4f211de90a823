"""Versions of a model that can be told apart by their answers, and sessions that misbehave."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from shared.inference import ModelPackage, load_package
from shared.inference.devices import Device
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from tests.shared.inference.packages import SIDE_PX, PackageBuilder, gray_ramp, mean_network

#: A picture of this value makes a run fail.
POISON = -7.0
#: Runs that take so long are a thread's; briefer ones are the event loop's, which no gate may stop.
THREADED_S = 0.5e-3


def picture(value: float, count: int = 1) -> NDArray[np.float32]:
    """`count` pictures, all of whose pixels have one value."""
    return np.full((count, 1, SIDE_PX, SIDE_PX), value, np.float32)


def version_of(folder: Path, version: str, gain: float, model: str = "gained") -> ModelPackage:
    """A package whose logits are the mean of the picture times `gain`, and the negative."""
    network: onnx.ModelProto = mean_network()
    weight = np.array([[gain, -gain]], np.float32)
    network.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    logit = gain * float(np.float32(gray_ramp().mean() / 255))
    answer = [1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))]
    changes: dict[str, Any] = {
        "id": model,
        "version": version,
        "test_vectors": [
            {
                "input": "vectors/0.png",
                "output": [float(figure) for figure in answer],
                "tolerance": 1e-4,
            }
        ],
    }
    return load_package(PackageBuilder(folder, network, changes).write())


class TrickySession:
    """A real session that fails on poison, takes its time, and notes how it was run."""

    def __init__(self, network: bytes, run_s: float = THREADED_S) -> None:
        self._session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
        self.run_s = run_s
        self.sizes: list[int] = []
        self.threads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def forget_entries(self) -> None:
        """Count runs that reach the gate from now on."""
        self.entered = threading.Semaphore(0)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs, unless one picture is poison."""
        (batch,) = feeds.values()
        self.sizes.append(len(batch))
        self.threads.append(threading.current_thread().name)
        self.entered.release()
        self.gate.wait(20)
        if self.run_s:
            time.sleep(self.run_s)
        if (batch[:, 0, 0, 0] == POISON).any():
            raise NetworkFailed("poison")
        return self._session.run(feeds)


class TrickySessions:
    """Opens tricky sessions and remembers them."""

    def __init__(self, run_s: float = THREADED_S) -> None:
        self.run_s = run_s
        self.opened: list[TrickySession] = []

    def __call__(self, network: bytes, device: Device) -> TrickySession:
        """Open a session as the engine asks for it."""
        session = TrickySession(network, self.run_s)
        self.opened.append(session)
        return session
