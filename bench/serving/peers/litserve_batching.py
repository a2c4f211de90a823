"""LitServe with its batching: one worker per core, as its documentation advises for processors."""

from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]  # It lives in the bench's own environment.
import numpy as np
from fastapi import Body
from numpy.typing import NDArray

from bench.serving.bare import BareNetwork, Setup

MAX_BATCH = 8
BATCH_TIMEOUT_S = 0.001


class Api(litserve.LitAPI):  # type: ignore[misc]  # Its type is not known here.
    """Raw bytes in, which costs LitServe less than the base64 of its examples."""

    def setup(self, _: str) -> None:
        """Create the session, once in every worker."""
        self._network = BareNetwork(Setup.from_environment())

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> NDArray[np.float32]:
        """Prepare one body."""
        return self._network.prepare(request)

    def batch(self, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Put pictures together."""
        return np.stack(inputs)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network."""
        return self._network.run(batch)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take answers apart."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Give one answer."""
        return {"logits": [float(logit) for logit in output]}


def main() -> None:
    """Serve until SIGTERM."""
    setup = Setup.from_environment()
    server = litserve.LitServer(
        Api(max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_S),
        accelerator="cuda" if setup.is_on_gpu else "cpu",
        workers_per_device=1 if setup.is_on_gpu else setup.threads,
    )
    server.run(
        host="127.0.0.1",
        port=setup.port,
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
