"""Heatmaps of networks that state none: found when somebody first asks, and remembered."""

import asyncio
from collections import OrderedDict
from typing import Protocol

from services.chexray.domain import ActivationMaps, ModelIdentity, Study
from services.chexray.inference import Opened
from shared.problems import Unavailable

#: About 2 kB each.
REMEMBERED = 1000
#: How many may wait for an explanation, each with the picture in its hands.
MAX_WAITING = 16
_RETRY_AFTER_S = 5


class Explains(Protocol):
    """A classifier that can tell from outside where it looks."""

    @property
    def model(self) -> ModelIdentity:
        """Which network reads."""
        ...

    async def open(self, image: bytes) -> Opened:
        """Decode and judge an upload."""
        ...

    async def explain(self, opened: Opened) -> ActivationMaps:
        """Where the network looks on what the gate has accepted."""
        ...


class Explainer:
    """Explains studies that were read without maps.

    An explanation costs a hundred runs of the network or more, so one is made at a time, and
    several who ask for the labels of one picture share it.
    """

    def __init__(
        self,
        classifier: Explains,
        *,
        remembered: int = REMEMBERED,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._classifier = classifier
        self._remembered = remembered
        self._max_waiting = max_waiting
        self._waiting = 0
        self._maps: OrderedDict[str, ActivationMaps] = OrderedDict()
        self._turn = asyncio.Lock()

    def knows(self, study: Study) -> bool:
        """Whether the network that read the study is the one that would explain it."""
        return bool(study.findings) and study.model.sha256 == self._classifier.model.sha256

    async def find_maps(self, study: Study, image: bytes) -> ActivationMaps | None:
        """Where the network looked; None where another network or another gate is in use now.

        Raises:
            Unavailable: too many wait already.
        """
        if not self.knows(study):
            return None
        key = study.image.sha256
        if key in self._maps:
            self._maps.move_to_end(key)
            return self._maps[key]
        if self._waiting >= self._max_waiting:
            raise Unavailable(
                f"{self._waiting} heatmaps are waiting to be made.", retry_after_s=_RETRY_AFTER_S
            )
        self._waiting += 1
        try:
            async with self._turn:
                return self._maps.get(key) or await self._explain(key, image)
        finally:
            self._waiting -= 1

    async def _explain(self, key: str, image: bytes) -> ActivationMaps | None:
        opened = await self._classifier.open(image)
        if not opened.gate.accepted:
            return None
        maps = await self._classifier.explain(opened)
        self._maps[key] = maps
        if len(self._maps) > self._remembered:
            self._maps.popitem(last=False)
        return maps
