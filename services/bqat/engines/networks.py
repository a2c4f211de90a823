"""Published networks that are installed on this machine, loaded once per process."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from structlog import get_logger

from shared.inference import (
    Evidence,
    ModelPackage,
    PackageNotFound,
    PackageRefused,
    load_package,
)
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from shared.inference.store import find_installed

log = get_logger(__name__)

Pixels = NDArray[np.uint8]
Outputs = Mapping[str, NDArray[np.float32]]
_WEAKEST_FIRST = (Evidence.RULES, Evidence.DEMO, Evidence.RESEARCH, Evidence.VALIDATED)


class LoadedNetwork:
    """One verified network on the processor, on one thread: a scan has a process per core."""

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self.name = package.name
        self.evidence = package.manifest.evidence
        self._input = package.manifest.input.name
        self._session = Session(package.read_network(), [(CPU_PROVIDER, {})], threads_per_run=1)

    @property
    def side_px(self) -> tuple[int, int]:
        """Height and width of what it reads."""
        return self.package.manifest.input.size

    def run(self, pixels: Pixels) -> Outputs:
        """All outputs for one picture, `(H, W, 3)` RGB or `(H, W)`; prepared as it was trained."""
        tensor = self.package.preprocess(pixels)[np.newaxis]
        return self._session.run({self._input: tensor})

    def answer(self, pixels: Pixels) -> NDArray[np.float32]:
        """The main output's figures for one picture, flat."""
        outputs = self.run(pixels)
        return outputs[self.package.manifest.output.name].reshape(-1)


def load_installed(home: Path, name: str) -> LoadedNetwork | None:
    """The newest installed version of `name`, or None where there is none that verifies."""
    try:
        folder = find_installed(home, name)[-1]
    except PackageNotFound:
        return None
    try:
        return LoadedNetwork(load_package(folder))
    except (PackageRefused, NetworkFailed) as error:
        log.error("network_refused", network=name, reason=str(error))
        return None


def weakest(levels: list[Evidence]) -> str:
    """The level of an answer in which several networks took part; rules where none did."""
    return str(min(levels, key=_WEAKEST_FIRST.index, default=Evidence.RULES))
