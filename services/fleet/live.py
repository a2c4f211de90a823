"""The newest picture of each truck, for those who look on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.domain import Frame, TruckId, media_type_of
from services.fleet.errors import FrameNotFound
from services.fleet.repositories.frames import FrameRepository
from shared.objects import ObjectNotFound, Objects
from shared.problems import Unavailable

BOUNDARY: Final = "vedette-frame"
#: A stream that is silent looks dead to what lies between; the same picture again keeps it alive.
_REPEAT_S: Final = 10.0
#: No viewer is sent more pictures than this.
_MIN_PAUSE_S: Final = 0.1
_MAX_VIEWERS: Final = 200


class TooManyViewers(Unavailable):
    """As many people look on as this process serves."""

    slug, title = "too-many-viewers", "Too many viewers"


class LiveTiles:
    """Tells viewers of new pictures; each takes the newest when it is ready, and skips the rest."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], objects: Objects) -> None:
        self._sessions = sessions
        self._objects = objects
        self._news: dict[TruckId, set[asyncio.Event]] = {}
        self._viewers = 0

    def frames_arrived(self, payload: str) -> None:
        """Wake the viewers of the trucks that are named: identifiers with commas between."""
        for text in payload.split(","):
            with contextlib.suppress(ValueError):
                for event in self._news.get(TruckId(UUID(text)), ()):
                    event.set()

    async def newest(self, truck_id: TruckId) -> Frame:
        """The newest frame of a truck; raises `FrameNotFound`."""
        async with self._sessions.begin() as session:
            frame = await FrameRepository(session).last_of(truck_id)
        if frame is None:
            raise FrameNotFound
        return frame

    async def picture(self, frame: Frame) -> bytes:
        """The bytes of a frame; raises `FrameNotFound` where retention was faster."""
        try:
            return await self._objects.get_part(
                frame.pack.sha256, frame.pack.offset, frame.size_bytes
            )
        except ObjectNotFound as error:
            raise FrameNotFound from error

    def admit(self) -> None:
        """Take a place for a viewer; raises `TooManyViewers`."""
        if self._viewers >= _MAX_VIEWERS:
            raise TooManyViewers("Too many people look on.", retry_after_s=10)

    async def stream(self, truck_id: TruckId) -> AsyncIterator[bytes]:
        """Parts of `multipart/x-mixed-replace`, one picture each, while somebody takes them."""
        news = asyncio.Event()
        self._news.setdefault(truck_id, set()).add(news)
        self._viewers += 1
        try:
            while True:
                news.clear()
                with contextlib.suppress(FrameNotFound):
                    frame = await self.newest(truck_id)
                    yield part(await self.picture(frame), frame.number)
                await asyncio.sleep(_MIN_PAUSE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REPEAT_S):
                        await news.wait()
        finally:
            self._viewers -= 1
            of_truck = self._news[truck_id]
            of_truck.discard(news)
            if not of_truck:
                del self._news[truck_id]


def part(content: bytes, number: int) -> bytes:
    """One picture as a part of the stream."""
    kind = media_type_of(content) or "application/octet-stream"
    head = (
        f"--{BOUNDARY}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        f"Vedette-Frame: {number}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n"
