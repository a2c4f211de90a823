"""What everybody measured here does with a body: prepare it, run the network, give the logits.

The bare loop and the peers use this module as it is; Vedette's service has its own way, which the
bench checks to give the same answer. It needs numpy, Pillow and ONNX Runtime alone, because the
peers live in a virtual environment of their own.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

CUDA_PROVIDER = "CUDAExecutionProvider"
_JPEG_BEGINS = b"\xff\xd8"
# As Vedette's own sessions on a GPU: see shared/inference/devices.py.
_CUDA_SETTINGS = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What every server is told; it travels to them in the environment."""

    network: Path
    side_px: int
    threads: int
    """Cores to compute on, over all that a server starts."""
    port: int = 0
    is_on_gpu: bool = False

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        return {
            "BENCH_NETWORK": str(self.network),
            "BENCH_SIDE_PX": str(self.side_px),
            "BENCH_THREADS": str(self.threads),
            "BENCH_PORT": str(self.port),
            "BENCH_GPU": str(int(self.is_on_gpu)),
        }

    @classmethod
    def from_environment(cls) -> Self:
        """What this process was told."""
        return cls(
            network=Path(os.environ["BENCH_NETWORK"]),
            side_px=int(os.environ["BENCH_SIDE_PX"]),
            threads=int(os.environ["BENCH_THREADS"]),
            port=int(os.environ["BENCH_PORT"]),
            is_on_gpu=os.environ["BENCH_GPU"] == "1",
        )


class BareNetwork:
    """One ONNX Runtime session without anything around it; `run` may be called from threads."""

    def __init__(self, setup: Setup, threads_per_run: int = 1) -> None:
        """Create the session.

        Raises:
            RuntimeError: a GPU is asked for, and ONNX Runtime does not use it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads_per_run
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The best setting wherever anything else wants the cores, so the peers get it too.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        if setup.is_on_gpu:
            ort.preload_dlls()
            providers.insert(0, (CUDA_PROVIDER, _CUDA_SETTINGS))
        self._session = ort.InferenceSession(str(setup.network), options, providers=providers)
        self.provider: str = self._session.get_providers()[0]
        if setup.is_on_gpu and self.provider != CUDA_PROVIDER:
            raise RuntimeError(f"ONNX Runtime runs on {self.provider}, not on the GPU")
        self._side_px = setup.side_px

    def prepare(self, body: bytes) -> NDArray[np.float32]:
        """Turn a body into the network's input.

        Args:
            body: a JPEG file, or the input itself as little-endian float32.

        Returns:
            `(3, side, side)`, RGB, 0 to 1.
        """
        side = self._side_px
        if not body.startswith(_JPEG_BEGINS):
            return np.frombuffer(body, "<f4").reshape(3, side, side)
        picture = Image.open(io.BytesIO(body))
        picture.draft("RGB", (2 * side, 2 * side))
        resized = picture.convert("RGB").resize(
            (side, side), Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        planes = np.asarray(resized).transpose(2, 0, 1)
        prepared = np.empty(planes.shape, np.float32)
        np.multiply(planes, np.float32(1 / 255), out=prepared)
        return prepared

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits, `(N, 2)`, of pictures, `(N, 3, side, side)`."""
        (logits,) = self._session.run(None, {"image": batch})
        return np.asarray(logits)

    def answer(self, body: bytes) -> list[float]:
        """The logits of one body."""
        return [float(logit) for logit in self.run(self.prepare(body)[np.newaxis])[0]]
