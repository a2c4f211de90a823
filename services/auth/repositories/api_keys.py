"""API keys in the database, by digest."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import ApiKey, ApiKeyId, UserId
from services.auth.tables import ApiKeyRow

#: "Last used" is written this often at most, not for every request.
_USE_RESOLUTION: Final = timedelta(minutes=1)


class ApiKeyRepository:
    """Finds, keeps and revokes API keys."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, key: ApiKey, digest: str) -> None:
        """Keep a new key."""
        await self._session.execute(
            insert(ApiKeyRow).values(
                id=key.id,
                user_id=key.user_id,
                name=key.name,
                hint=key.hint,
                digest=digest,
                scopes=sorted(key.scopes),
                created_at=key.created_at,
                expires_at=key.expires_at,
            )
        )

    async def find_valid(self, digest: str, now: datetime) -> ApiKey | None:
        """The key with this digest, if it is neither revoked nor expired."""
        row = await self._session.scalar(
            select(ApiKeyRow).where(
                ApiKeyRow.digest == digest,
                ApiKeyRow.revoked_at.is_(None),
                or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now),
            )
        )
        return None if row is None else _to_api_key(row)

    async def page(self, user_id: UserId, after: ApiKeyId | None, limit: int) -> Sequence[ApiKey]:
        """Up to `limit` of an account's keys that are not revoked, oldest first."""
        query = (
            select(ApiKeyRow)
            .where(ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
            .order_by(ApiKeyRow.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(ApiKeyRow.id > after)
        return [_to_api_key(row) for row in await self._session.scalars(query)]

    async def count(self, user_id: UserId) -> int:
        """How many keys of an account are not revoked."""
        count = await self._session.scalar(
            select(func.count())
            .select_from(ApiKeyRow)
            .where(ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
        )
        return count or 0

    async def note_use(self, key_id: ApiKeyId, now: datetime) -> None:
        """Remember that the key was used, to the minute."""
        await self._session.execute(
            update(ApiKeyRow)
            .where(
                ApiKeyRow.id == key_id,
                or_(
                    ApiKeyRow.last_used_at.is_(None),
                    ApiKeyRow.last_used_at < now - _USE_RESOLUTION,
                ),
            )
            .values(last_used_at=now)
        )

    async def revoke(self, key_id: ApiKeyId, user_id: UserId, now: datetime) -> bool:
        """Revoke an account's key; False when it has none with this identifier."""
        revoked = await self._session.scalar(
            update(ApiKeyRow)
            .where(
                ApiKeyRow.id == key_id,
                ApiKeyRow.user_id == user_id,
                ApiKeyRow.revoked_at.is_(None),
            )
            .values(revoked_at=now)
            .returning(ApiKeyRow.id)
        )
        return revoked is not None


def _to_api_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(row.id),
        user_id=UserId(row.user_id),
        name=row.name,
        hint=row.hint,
        scopes=frozenset(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
