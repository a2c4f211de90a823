"""Is the camera itself all right? Judged on the frames, by figures that anybody can check.

Thresholds are on a gray picture reduced to about 160 px; where they come from is said at each.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.domain import NewFrame, StoredFrame, TruckId
from services.fleet.repositories.events import EventRepository
from services.fleet.repositories.frames import FrameRepository
from shared.imaging import Decoder, Picture
from shared.problems import Problem

log = structlog.get_logger(__name__)

SIDE_PX: Final = 160
#: A cab at night under infrared light is far brighter; a covered lens gives 0 to 10.
DARK_BELOW: Final = 16.0
#: A hand or tape before the lens leaves one tone: real cabs measured 40 and more.
FLAT_BELOW: Final = 10.0
#: Variance of the Laplacian (Pech-Pacheco et al., 2000); out of focus it falls below a tenth of
#: what the same camera gives in focus.
BLURRED_BELOW: Final = 25.0
#: The same picture to the last hash bit this often, over at least this long.
FROZEN_TIMES: Final = 3
FROZEN_S: Final = 10.0
_HASH_SIDE: Final = 16
_MAX_TRUCKS: Final = 20_000
_MAX_WAITING: Final = 64


class Fault(StrEnum):
    """What is the matter with a camera."""

    DARK = "dark"
    BLOCKED = "blocked"
    BLURRED = "blurred"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture looks like."""

    brightness: float
    """Mean of the gray levels, 0 to 255."""
    contrast: float
    """Their standard deviation."""
    sharpness: float
    """Variance of the Laplacian."""
    fingerprint: bytes
    """Every pixel of a small copy: equal only for what is really the same picture."""

    @property
    def faults(self) -> frozenset[Fault]:
        """What is wrong with this picture alone; a dark or flat one is not called blurred too."""
        if self.brightness < DARK_BELOW:
            return frozenset({Fault.DARK})
        if self.contrast < FLAT_BELOW:
            return frozenset({Fault.BLOCKED})
        return frozenset({Fault.BLURRED}) if self.sharpness < BLURRED_BELOW else frozenset()


def look_at(picture: Picture) -> Look:
    """Measure one decoded picture."""
    pixels = picture.pixels
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = SIDE_PX / max(gray.shape)
    if scale < 1:
        size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return measure(np.ascontiguousarray(gray, dtype=np.uint8))


def measure(gray: NDArray[np.uint8]) -> Look:
    """The figures of a gray picture `(H, W)`, 0 to 255."""
    small = cv2.resize(gray, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    return Look(
        brightness=float(gray.mean()),
        contrast=float(gray.std()),
        sharpness=float(cv2.Laplacian(gray, cv2.CV_64F).var()),
        fingerprint=small.tobytes(),
    )


@dataclass(slots=True)
class _Track:
    """What was seen of one truck before."""

    checked_at: float = float("-inf")
    fingerprint: bytes = b""
    same: int = 0
    same_since: float = 0.0

    def note(self, look: Look, now: float) -> frozenset[Fault]:
        """The faults with this picture added to what was seen before."""
        if look.fingerprint == self.fingerprint:
            self.same += 1
        else:
            self.fingerprint, self.same, self.same_since = look.fingerprint, 0, now
        faults = look.faults
        if self.same >= FROZEN_TIMES and now - self.same_since >= FROZEN_S:
            faults |= {Fault.FROZEN}
        return faults


@dataclass(slots=True)
class CameraWatch:
    """Judges a picture of each truck now and then, after it was acknowledged."""

    sessions: async_sessionmaker[AsyncSession]
    decoder: Decoder
    interval_s: float
    _tracks: OrderedDict[TruckId, _Track] = field(default_factory=OrderedDict)
    _waiting: asyncio.Queue[tuple[NewFrame, StoredFrame]] = field(
        default_factory=lambda: asyncio.Queue(_MAX_WAITING)
    )

    def offer(self, frame: NewFrame, stored: StoredFrame) -> None:
        """Look at this frame if the truck's turn has come and there is time; else never."""
        now = time.monotonic()
        track = self._tracks.get(stored.truck_id)
        if track is None:
            track = self._tracks[stored.truck_id] = _Track()
            if len(self._tracks) > _MAX_TRUCKS:
                self._tracks.popitem(last=False)
        if now - track.checked_at < self.interval_s:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait((frame, stored))
            track.checked_at = now

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at what is offered until the block ends."""
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    async def _look_for_ever(self) -> None:
        while True:
            frame, stored = await self._waiting.get()
            try:
                await self._look(frame, stored)
            except Problem as error:
                # What cannot be decoded or written is not judged; the frame itself is kept.
                log.info("camera_not_judged", error=type(error).__name__)

    async def _look(self, frame: NewFrame, stored: StoredFrame) -> None:
        look = await self.decoder.apply(look_at, frame.content, target_px=SIDE_PX)
        track = self._tracks.setdefault(stored.truck_id, _Track())
        faults = track.note(look, time.monotonic())
        async with self.sessions.begin() as session:
            changed = await FrameRepository(session).note_camera(
                stored.truck_id,
                faults,
                stored.number,
                look.brightness,
                look.contrast,
                look.sharpness,
            )
            if changed:
                await EventRepository(session).announce(
                    "camera.changed",
                    {"faults": sorted(faults), "frame": stored.number},
                    truck_id=stored.truck_id,
                )
