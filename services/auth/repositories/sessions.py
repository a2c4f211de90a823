"""Sign-in sessions and their refresh tokens in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import RefreshToken, SessionId, SessionKind, SignInSession, UserId
from services.auth.tables import RefreshTokenRow, SessionRow


class SessionRepository:
    """Finds, keeps and ends sign-in sessions."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, opened: SignInSession) -> None:
        """Keep a new session."""
        await self._session.execute(
            insert(SessionRow).values(
                id=opened.id,
                user_id=opened.user_id,
                kind=opened.kind,
                api=opened.api,
                address=opened.address,
                created_at=opened.created_at,
                last_used_at=opened.last_used_at,
                expires_at=opened.expires_at,
                ended_at=opened.ended_at,
            )
        )

    async def find(self, session_id: SessionId) -> SignInSession | None:
        """The session with this identifier, open or not."""
        row = await self._session.get(SessionRow, session_id, populate_existing=True)
        return None if row is None else _to_session(row)

    async def page_open(
        self, user_id: UserId, now: datetime, after: SessionId | None, limit: int
    ) -> Sequence[SignInSession]:
        """Up to `limit` of an account's open sessions, newest first, from behind `after`."""
        query = (
            select(SessionRow)
            .where(
                SessionRow.user_id == user_id,
                SessionRow.ended_at.is_(None),
                SessionRow.expires_at > now,
            )
            .order_by(SessionRow.id.desc())
            .limit(limit)
        )
        if after is not None:
            query = query.where(SessionRow.id < after)
        return [_to_session(row) for row in await self._session.scalars(query)]

    async def touch(self, session_id: SessionId, now: datetime, address: str) -> None:
        """Note that the session was used."""
        await self._session.execute(
            update(SessionRow)
            .where(SessionRow.id == session_id)
            .values(last_used_at=now, address=address)
        )

    async def end(self, session_id: SessionId, now: datetime) -> bool:
        """End a session; False when it had ended before."""
        ended = await self._session.scalar(
            update(SessionRow)
            .where(SessionRow.id == session_id, SessionRow.ended_at.is_(None))
            .values(ended_at=now)
            .returning(SessionRow.id)
        )
        return ended is not None

    async def end_all(self, user_id: UserId, now: datetime) -> None:
        """End every open session of an account."""
        await self._session.execute(
            update(SessionRow)
            .where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None))
            .values(ended_at=now)
        )

    async def add_refresh_token(self, token: RefreshToken) -> None:
        """Keep what is known of a refresh token."""
        await self._session.execute(
            insert(RefreshTokenRow).values(
                id=token.id,
                session_id=token.session_id,
                access_id=token.access_id,
                key_id=token.key_id,
                issued_at=token.issued_at,
                expires_at=token.expires_at,
            )
        )

    async def find_refresh_token(self, token_id: str) -> RefreshToken | None:
        """What is known of one refresh token."""
        row = await self._session.get(RefreshTokenRow, token_id, populate_existing=True)
        return None if row is None else _to_refresh_token(row)

    async def use_refresh_token(
        self, token_id: str, successor_id: str, now: datetime
    ) -> RefreshToken | None:
        """Take a refresh token for the first and only time; None when somebody did before.

        One statement decides: of any number of requests at once, one gets the row.
        """
        row = await self._session.scalar(
            update(RefreshTokenRow)
            .where(RefreshTokenRow.id == token_id, RefreshTokenRow.used_at.is_(None))
            .values(used_at=now, successor_id=successor_id)
            .returning(RefreshTokenRow)
            .execution_options(populate_existing=True)
        )
        return None if row is None else _to_refresh_token(row)

    async def delete_over(self, before: datetime) -> None:
        """Delete sessions, with their refresh tokens, whose time was over before an instant."""
        await self._session.execute(delete(SessionRow).where(SessionRow.expires_at < before))


def _to_session(row: SessionRow) -> SignInSession:
    return SignInSession(
        id=SessionId(row.id),
        user_id=UserId(row.user_id),
        kind=cast("SessionKind", row.kind),
        api=row.api,
        address=row.address,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
    )


def _to_refresh_token(row: RefreshTokenRow) -> RefreshToken:
    return RefreshToken(
        id=row.id,
        session_id=SessionId(row.session_id),
        access_id=row.access_id,
        key_id=row.key_id,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        successor_id=row.successor_id,
    )
