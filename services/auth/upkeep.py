"""What auth does by itself now and then: look after its keys, delete what is over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.attempts import ADDRESS_FORGOTTEN_AFTER, FAILURES_FORGOTTEN_AFTER
from services.auth.domain import REFRESH_IDLE
from services.auth.key_ring import KeyRing
from services.auth.repositories.attempts import AttemptRepository
from services.auth.repositories.events import EventRepository
from services.auth.repositories.sessions import SessionRepository
from shared.db import DatabaseAway

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Keeps keys fresh and tables small; every replica may do it at any time."""

    sessions: async_sessionmaker[AsyncSession]
    keys: KeyRing
    clock: Callable[[], datetime]
    audit_kept: timedelta

    async def run(self, interval_s: float) -> None:
        """Do it for ever; a database that is away is waited for."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.once()
            except (DatabaseAway, SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("upkeep_postponed", error=type(error).__name__)

    async def once(self) -> None:
        """Do it now."""
        await self.keys.prepare()
        now = self.clock()
        async with self.sessions.begin() as session:
            # Ended sessions stay a while, so that the reuse of an old token is still noticed.
            await SessionRepository(session).delete_over(now - REFRESH_IDLE)
            await EventRepository(session).delete_over(now, now - self.audit_kept)
            await AttemptRepository(session).delete_over(
                now, now - FAILURES_FORGOTTEN_AFTER, now - ADDRESS_FORGOTTEN_AFTER
            )
