"""The way of a frame: its picture into the store, then its row, then the acknowledgement.

Frames that arrive together share one object (a pack) and one commit, so that the disk is waited for
once. Nothing waits for a timer: while one commit is under way the frames that arrive gather, and
they are the next one. Frames of alerts and safe ones have packs of their own, for they are kept for
different times.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.domain import NewFrame, Pack, StoredFrame
from services.fleet.errors import (
    AlertNotFound,
    AlertOver,
    NotADevice,
    NotThisTruck,
)
from services.fleet.repositories.frames import FrameRepository, Refused
from shared.idempotency import IdempotencyKeyReused
from shared.objects import Objects
from shared.problems import Problem, Unavailable

_MAX_BATCH: Final = 256
_MAX_PACK_BYTES: Final = 8 * 1024 * 1024
_COMMITS_AT_ONCE: Final = 2
#: Frames that may be on their way; together at most as many bytes as follow.
_MAX_WAITING: Final = 1024
_MAX_WAITING_BYTES: Final = 256 * 1024 * 1024

Waiting = tuple[NewFrame, "asyncio.Future[StoredFrame | Refused]"]
Observer = Callable[[NewFrame, StoredFrame], None]


class IngestBusy(Unavailable):
    """More frames are on their way than can be stored in reasonable time."""

    slug, title = "ingest-busy", "Too many frames at once"


class FrameWriter:
    """Stores frames, and lets observers see what was stored."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], objects: Objects) -> None:
        self._sessions = sessions
        self._objects = objects
        self._waiting: list[Waiting] = []
        self._committing: set[asyncio.Task[None]] = set()
        self._frames = 0
        self._bytes = 0
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Call `observer` with every frame that is stored from here on; it must return at once."""
        self._observers.append(observer)

    async def close(self) -> None:
        """Finish what has begun."""
        while self._committing:
            await asyncio.gather(*self._committing, return_exceptions=True)

    async def store(self, frame: NewFrame) -> StoredFrame:
        """Keep a frame; when this returns it is kept.

        Raises:
            IngestBusy: too many others are on their way.
            NotADevice, NotThisTruck, AlertNotFound, AlertOver, IdempotencyKeyReused: as they say.
        """
        size = len(frame.content)
        if self._frames >= _MAX_WAITING or self._bytes + size > _MAX_WAITING_BYTES:
            raise IngestBusy("Too many frames are on their way; send this one again.")
        self._frames += 1
        self._bytes += size
        try:
            outcome = await self._keep(frame)
            if isinstance(outcome, Refused) and outcome.reason == "again":
                outcome = await self._keep(frame)
        finally:
            self._frames -= 1
            self._bytes -= size
        if isinstance(outcome, Refused):
            raise _problem(outcome)
        if not outcome.is_repeated:
            for observer in self._observers:
                observer(frame, outcome)
        return outcome

    async def _keep(self, frame: NewFrame) -> StoredFrame | Refused:
        future: asyncio.Future[StoredFrame | Refused] = asyncio.get_running_loop().create_future()
        self._waiting.append((frame, future))
        self._commit_if_free()
        return await future

    def _commit_if_free(self) -> None:
        if not self._waiting or len(self._committing) >= _COMMITS_AT_ONCE:
            return
        batch = self._take_batch()
        # A task of its own: a client that leaves must not take its neighbours' frames along.
        task = asyncio.create_task(self._commit(batch))
        self._committing.add(task)
        task.add_done_callback(self._committed)

    def _committed(self, task: asyncio.Task[None]) -> None:
        self._committing.discard(task)
        self._commit_if_free()

    def _take_batch(self) -> list[Waiting]:
        """The frames that waited longest, as many as fit into one commit."""
        size = 0
        for count, (frame, _) in enumerate(self._waiting[:_MAX_BATCH]):
            size += len(frame.content)
            if count and size > _MAX_PACK_BYTES:
                break
        else:
            count = min(len(self._waiting), _MAX_BATCH)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _pack(self, frames: list[NewFrame]) -> list[Pack]:
        """Put the pictures into the store; where each of them lies."""
        places: dict[int, Pack] = {}
        for is_safe in (True, False):
            packed = [
                place
                for place, frame in enumerate(frames)
                if (frame.alert_number is None and frame.alert_id is None) is is_safe
            ]
            if not packed:
                continue
            content = frames[packed[0]].content
            if len(packed) > 1:
                content = b"".join(frames[place].content for place in packed)
            sha256 = await self._objects.put(content)
            offset = 0
            for place in packed:
                places[place] = Pack(sha256, offset)
                offset += len(frames[place].content)
        return [places[place] for place in range(len(frames))]

    async def _commit(self, batch: list[Waiting]) -> None:
        frames = [frame for frame, _ in batch]
        try:
            packs = await self._pack(frames)
            async with self._sessions.begin() as session:
                outcomes = await FrameRepository(session).store(
                    list(zip(frames, packs, strict=True))
                )
        except Exception as error:
            # Each of those who wait hears of it; none was told that its frame is stored.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_result(outcome)


def _problem(refused: Refused) -> Problem:
    match refused.reason:
        case "alert" | "foreign":
            return AlertNotFound()
        case "over":
            return AlertOver("The alert is over.")
        case "device":
            return NotADevice("This device has no truck here.")
        case "reused":
            return IdempotencyKeyReused("This key came before with another frame.")
        case _:
            return NotThisTruck()
