"""Signing keys in the database, encrypted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.tables import SigningKeyRow
from shared.revocations import KEYS_CHANNEL

KeyState = Literal["next", "active", "retired"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as it lies in the database."""

    id: str
    state: KeyState
    wrapped_private_key: bytes
    created_at: datetime
    activated_at: datetime | None = None
    retired_at: datetime | None = None
    expires_at: datetime | None = None


class SigningKeyRepository:
    """Finds and keeps signing keys."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self) -> None:
        """Let one replica at a time look after the keys."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('vedette-signing-keys', 0))")
        )

    async def all(self) -> Sequence[StoredKey]:
        """Every key, oldest first."""
        rows = await self._session.scalars(
            select(SigningKeyRow)
            .order_by(SigningKeyRow.created_at, SigningKeyRow.id)
            .execution_options(populate_existing=True)
        )
        return [
            StoredKey(
                id=row.id,
                state=cast("KeyState", row.state),
                wrapped_private_key=row.wrapped_private_key,
                created_at=row.created_at,
                activated_at=row.activated_at,
                retired_at=row.retired_at,
                expires_at=row.expires_at,
            )
            for row in rows
        ]

    async def add(self, key: StoredKey) -> None:
        """Keep a new key and tell every process that the set has changed."""
        await self._session.execute(
            insert(SigningKeyRow).values(
                id=key.id,
                state=key.state,
                wrapped_private_key=key.wrapped_private_key,
                created_at=key.created_at,
                activated_at=key.activated_at,
            )
        )
        await self._session.execute(select(func.pg_notify(KEYS_CHANNEL, key.id)))

    async def retire_active(self, now: datetime, expires_at: datetime) -> None:
        """End the active key's signing; it is accepted until `expires_at`."""
        await self._session.execute(
            update(SigningKeyRow)
            .where(SigningKeyRow.state == "active")
            .values(state="retired", retired_at=now, expires_at=expires_at)
        )

    async def activate_next(self, now: datetime) -> None:
        """Let the next key sign."""
        await self._session.execute(
            update(SigningKeyRow)
            .where(SigningKeyRow.state == "next")
            .values(state="active", activated_at=now)
        )

    async def delete_over(self, now: datetime) -> None:
        """Delete retired keys whose last token has expired."""
        await self._session.execute(delete(SigningKeyRow).where(SigningKeyRow.expires_at < now))
