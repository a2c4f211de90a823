"""What happens by the clock: what is too old goes, and devices that fell silent raise an alert."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.alerting import Alerting
from services.fleet.domain import Behavior
from services.fleet.repositories.events import EventRepository
from services.fleet.repositories.frames import FrameRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.jobs.errors import AWAY
from shared.objects import Objects, sweep

log = structlog.get_logger(__name__)

_BATCH: Final = 1000
_MAX_BATCHES: Final = 100
#: One process at a time does this, whichever comes first.
_TURN: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('vedette-fleet-upkeep', 0))"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each kind is kept, unless a hold keeps it."""

    safe_frames: timedelta
    alert_frames: timedelta
    alerts: timedelta
    events: timedelta
    sweep_age_s: float


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Does what is due now and then."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    alerting: Alerting
    retention: Retention
    offline_after: timedelta
    interval_s: float

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Go on until the block ends."""
        going = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            going.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await going

    async def _go_on(self) -> None:
        swept_at = datetime.now(UTC)
        while True:
            await asyncio.sleep(self.interval_s)
            now = datetime.now(UTC)
            try:
                await self.check_devices(now)
                deleted = await self.forget(now)
                if now - swept_at > timedelta(hours=1):
                    swept_at = now
                    await self.sweep_pictures()
            except AWAY as error:
                log.warning("upkeep_failed", error=type(error).__name__)
            else:
                if deleted:
                    log.info("frames_forgotten", frames=deleted)

    async def check_devices(self, now: datetime) -> None:
        """Raise an alert for each device that fell silent, and end it for those that are back."""
        before = now - self.offline_after
        async with self.sessions.begin() as session:
            trucks = TruckRepository(session)
            for device in await trucks.take_silent(before):
                await self.alerting.raise_for(device, Behavior.DEVICE_OFFLINE, session)
                log.info("device_offline", device_id=str(device.id))
            for device in await trucks.take_returned(before):
                await self.alerting.end_going_on(device, Behavior.DEVICE_OFFLINE, session)
                log.info("device_back", device_id=str(device.id))

    async def forget(self, now: datetime) -> int:
        """Delete what is older than its kind is kept; returns how many frames went."""
        total = 0
        for _ in range(_MAX_BATCHES):
            async with self.sessions.begin() as session:
                if not await session.scalar(text(_TURN)):
                    return total
                deleted = await FrameRepository(session).forget_before(
                    now - self.retention.safe_frames, now - self.retention.alert_frames, _BATCH
                )
            total += deleted
            if deleted < _BATCH:
                break
        async with self.sessions.begin() as session:
            await EventRepository(session).forget_before(now - self.retention.events)
            await session.execute(
                text(
                    """
                    WITH old AS (
                        DELETE FROM fleet.alerts a USING fleet.trucks t
                        WHERE t.id = a.truck_id AND NOT t.legal_hold AND NOT a.legal_hold
                            AND a.received_at < :before
                        RETURNING a.incident_id
                    )
                    DELETE FROM fleet.incidents i WHERE i.id IN (SELECT incident_id FROM old)
                        AND NOT EXISTS (
                            SELECT FROM fleet.alerts a WHERE a.incident_id = i.id
                                AND (a.received_at >= :before OR a.legal_hold)
                        )
                    """
                ),
                {"before": now - self.retention.alerts},
            )
        return total

    async def sweep_pictures(self) -> int:
        """Delete pictures that no frame refers to; returns how many."""

        async def referenced(sha256s: Sequence[str]) -> set[str]:
            async with self.sessions.begin() as session:
                return await FrameRepository(session).referenced(sha256s)

        return await sweep(self.objects, self.retention.sweep_age_s, referenced)
