"""A name behind which the version of a network can change while it serves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from shared.inference.batching import Outputs, Priority
from shared.inference.network import Network


class Served:
    """A name, and the network that answers to it now."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self._network = network
        self._lock = threading.Lock()

    @property
    def network(self) -> Network:
        """The version that answers now; the next moment it may be another."""
        return self._network

    @contextmanager
    def use(self) -> Iterator[Network]:
        """One version from preprocessing to answer, which stays loaded for as long.

        Whoever reads the manifest, runs the network and interprets its outputs does all of it
        inside, so that no answer is put together from two versions.
        """
        with self._lock:
            network = self._network
            network.hold()
        try:
            yield network
        finally:
            network.let_go()

    async def run(
        self,
        tensor: NDArray[np.float32],
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """`Network.run` of the version that answers now."""
        with self.use() as network:
            return await network.run(tensor, deadline_s=deadline_s, priority=priority)

    def switch_to(self, network: Network) -> Network:
        """Let another version answer from now on; returns the one that did."""
        with self._lock:
            old, self._network = self._network, network
        return old
