"""Reading the security events."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.domain import AuditEvent
from services.auth.repositories.events import EventRepository


@dataclass(frozen=True, slots=True)
class AuditLog:
    """What happened, newest first."""

    sessions: async_sessionmaker[AsyncSession]

    async def page(
        self, event: str | None, before: UUID | None, limit: int
    ) -> Sequence[AuditEvent]:
        """Up to `limit` events, of one kind if one is named, from behind `before`."""
        async with self.sessions.begin() as session:
            return await EventRepository(session).page(event, before, limit)
