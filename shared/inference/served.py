"""A name behind which the version of a network can change while it serves."""

import threading
from contextlib import AbstractContextManager

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

    def use(self) -> AbstractContextManager[Network]:
        """One version from preprocessing to answer, which stays loaded for as long.

        Whoever reads the manifest, runs the network and interprets its outputs does all of it
        inside, so that no answer is put together from two versions.
        """
        return _Use(self)

    def hold(self) -> Network:
        """The version that answers now, kept in memory until its own `let_go`."""
        with self._lock:
            network = self._network
            network.hold()
        return network

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


class _Use:
    """One use of whatever version answers when it begins."""

    __slots__ = ("_network", "_served")

    def __init__(self, served: Served) -> None:
        self._served = served

    def __enter__(self) -> Network:
        self._network = self._served.hold()
        return self._network

    def __exit__(self, *_: object) -> None:
        self._network.let_go()
