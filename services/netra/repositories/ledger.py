"""Credits: one account per owner, and every movement of it.

An account's credits are always the sum of its ledger, because both are written in one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.netra.domain import AnalysisId, OwnerId
from services.netra.errors import NoCredits
from services.netra.tables import SCHEMA, AccountRow, LedgerRow

_OPEN = text(f"""
    WITH opened AS (
        INSERT INTO {SCHEMA}.accounts (owner, credits) VALUES (:owner, :credits)
        ON CONFLICT (owner) DO NOTHING RETURNING owner, credits
    )
    INSERT INTO {SCHEMA}.ledger (owner, kind, amount)
    SELECT owner, 'grant', credits FROM opened
""")  # noqa: S608 (made of our own names alone)

_CHARGE = text(f"""
    WITH paid AS (
        UPDATE {SCHEMA}.accounts SET credits = credits - :count
        WHERE owner = :owner AND credits >= :count
        RETURNING owner, credits
    ), noted AS (
        INSERT INTO {SCHEMA}.ledger (owner, kind, amount, analysis_id)
        SELECT paid.owner, 'charge', -1, charged.id
        FROM paid CROSS JOIN unnest(CAST(:analyses AS uuid[])) AS charged (id)
    )
    SELECT credits FROM paid
""")  # noqa: S608

#: What the account gets back is what the ledger took on, so that nothing is refunded twice.
_REFUND = text(f"""
    WITH noted AS (
        INSERT INTO {SCHEMA}.ledger (owner, kind, amount, analysis_id)
        SELECT owner, 'refund', -amount, analysis_id FROM {SCHEMA}.ledger
        WHERE analysis_id = :analysis AND kind = 'charge'
        ON CONFLICT (analysis_id, kind) WHERE analysis_id IS NOT NULL DO NOTHING
        RETURNING owner, amount
    )
    UPDATE {SCHEMA}.accounts AS account SET credits = account.credits + noted.amount
    FROM noted WHERE account.owner = noted.owner
    RETURNING account.owner
""")  # noqa: S608

_SET = text(f"""
    WITH before AS (
        SELECT owner, credits FROM {SCHEMA}.accounts WHERE owner = :owner FOR UPDATE
    ), noted AS (
        INSERT INTO {SCHEMA}.ledger (owner, kind, amount)
        SELECT owner, 'grant', :credits - credits FROM before WHERE credits <> :credits
    )
    UPDATE {SCHEMA}.accounts AS account SET credits = :credits
    FROM before WHERE account.owner = before.owner
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of an account's credits."""

    number: int
    kind: str
    amount: int
    analysis_id: UUID | None
    at: datetime


class Ledger:
    """The credits of everybody; new accounts begin with `first_credits`."""

    def __init__(self, session: AsyncSession, first_credits: int) -> None:
        self._session = session
        self._first_credits = first_credits

    async def remaining(self, owner: OwnerId) -> int:
        """The owner's credits; an account is opened at the first question."""
        query = select(AccountRow.credits).where(AccountRow.owner == owner)
        found: int | None = await self._session.scalar(query)
        if found is None:
            await self._open(owner)
            found = (await self._session.execute(query)).scalar_one()
        return found

    async def glance(self, owner: OwnerId) -> int:
        """The owner's credits, or what an account begins with; opens none."""
        query = select(AccountRow.credits).where(AccountRow.owner == owner)
        found: int | None = await self._session.scalar(query)
        return self._first_credits if found is None else found

    async def charge(self, owner: OwnerId, analyses: Sequence[AnalysisId]) -> int:
        """Take one credit for each analysis, or none at all.

        Returns:
            What is left.

        Raises:
            NoCredits: there are too few.
        """
        values = {"owner": owner, "count": len(analyses), "analyses": list(analyses)}
        left: int | None = await self._session.scalar(_CHARGE, values)
        if left is None:
            # A new account, or an empty one.
            remaining = await self.remaining(owner)
            left = await self._session.scalar(_CHARGE, values)
            if left is None:
                raise NoCredits(remaining)
        return left

    async def refund(self, analysis: AnalysisId) -> bool:
        """Give back what an analysis cost, once; whether anything was given back."""
        refunded = await self._session.execute(_REFUND, {"analysis": analysis})
        return refunded.one_or_none() is not None

    async def set_credits(self, owner: OwnerId, credits_: int) -> None:
        """Let the owner have this many, noting the difference."""
        await self._open(owner)
        await self._session.execute(_SET, {"owner": owner, "credits": credits_})

    async def movements(self, owner: OwnerId, *, before: int | None, limit: int) -> list[Movement]:
        """The owner's movements, newest first, beginning behind the one numbered `before`."""
        query = select(LedgerRow).where(LedgerRow.owner == owner)
        if before is not None:
            query = query.where(LedgerRow.number < before)
        rows = await self._session.scalars(query.order_by(LedgerRow.number.desc()).limit(limit))
        return [Movement(row.number, row.kind, row.amount, row.analysis_id, row.at) for row in rows]

    async def _open(self, owner: OwnerId) -> None:
        await self._session.execute(_OPEN, {"owner": owner, "credits": self._first_credits})
