"""BentoML with its adaptive batching: one worker whose threads each run single-threaded."""

import base64

import bentoml  # type: ignore[import-not-found]  # It lives in the bench's own environment.
import numpy as np

from bench.serving.bare import BareNetwork, Setup

_SETUP = Setup.from_environment()


@bentoml.service(workers=1, threads=_SETUP.threads, traffic={"timeout": 60})
class Bench:
    """Bodies in base64: its batches are made of JSON lists, arrays or uploaded files alone."""

    def __init__(self) -> None:
        """Create the session."""
        self._network = BareNetwork(_SETUP)

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=60_000)  # type: ignore[untyped-decorator]  # Not known here.
    def predict(self, bodies: list[str]) -> list[list[float]]:
        """The logits of every body."""
        pictures = [self._network.prepare(base64.b64decode(body)) for body in bodies]
        logits: list[list[float]] = self._network.run(np.stack(pictures)).tolist()
        return logits
