"""The old API's small user numbers: every query."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.chexray.compat.tables import LegacyAccountRow
from services.chexray.domain import OwnerId


class LegacyAccounts:
    """Which number stands for which user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def number_of(self, user: OwnerId) -> int:
        """The user's number, given out at the first question."""
        query = select(LegacyAccountRow.number).where(LegacyAccountRow.user_id == user)
        number = await self._session.scalar(query)
        if number is not None:
            return number
        # A parallel first question may win; then its number counts.
        await self._session.execute(
            insert(LegacyAccountRow).values(user_id=user).on_conflict_do_nothing()
        )
        return (await self._session.execute(query)).scalar_one()
