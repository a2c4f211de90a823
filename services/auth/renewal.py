"""Keeping and ending sessions: refresh with reuse detection, revocation, the list of sign-ins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.api_keys import ApiKeys
from services.auth.domain import (
    REFRESH_GRACE,
    RefreshToken,
    SessionId,
    SignInSession,
    User,
    UserId,
    is_api_key,
    new_token_id,
)
from services.auth.errors import InvalidGrant, SessionNotFound
from services.auth.repositories.events import EventRepository
from services.auth.repositories.sessions import SessionRepository
from services.auth.repositories.users import UserRepository
from services.auth.tokens import AUDIENCES, REFRESH_AUDIENCE, TokenPair, Tokens
from shared.assertions import Refusal
from shared.tokens import Claims, TokenRefused, TokenType

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Renewal:
    """Exchanges refresh tokens, and ends sessions."""

    sessions: async_sessionmaker[AsyncSession]
    tokens: Tokens
    api_keys: ApiKeys
    clock: Callable[[], datetime]

    async def refresh(self, token: str, address: str) -> TokenPair:
        """Exchange a refresh token for the next pair.

        Each is taken once. Within ten seconds the same token gives the same answer again, for
        clients whose connection broke. Later it has two holders, one of them a thief: the whole
        session ends, with its access tokens.

        Raises:
            InvalidGrant: the token, its session or its account is not good (any more).
        """
        claims = self._read(token)
        now = self.clock()
        async with self.sessions.begin() as session:
            pair = await self._exchange(session, claims, now, address)
        if pair is None:
            raise _refused()
        return pair

    async def _exchange(
        self, session: AsyncSession, claims: Claims, now: datetime, address: str
    ) -> TokenPair | None:
        """The next pair, or None; what it writes stays written either way."""
        if claims.session_id is None:
            return None
        family = SessionRepository(session)
        user = await UserRepository(session).find_steady(UserId(UUID(claims.subject)))
        opened = await family.find(SessionId(UUID(claims.session_id)))
        if user is None or user.is_disabled or opened is None:
            return None
        if opened.ended_at is not None or opened.expires_at <= now:
            return None
        successor_id = new_token_id()
        if await family.use_refresh_token(claims.token_id, successor_id, now) is not None:
            successor = self.tokens.new_refresh_token(user, opened, successor_id)
            await family.add_refresh_token(successor)
            await family.touch(opened.id, now, address)
            return self.tokens.pair(user, opened, successor)
        used = await family.find_refresh_token(claims.token_id)
        if used is None or used.used_at is None or used.successor_id is None:
            return None
        if now - used.used_at <= REFRESH_GRACE:
            return await self._repeat(family, user, opened, used.successor_id)
        await self._kill(session, user, opened, used, now, address)
        return None

    async def _repeat(
        self, family: SessionRepository, user: User, opened: SignInSession, successor_id: str
    ) -> TokenPair | None:
        successor = await family.find_refresh_token(successor_id)
        return None if successor is None else self.tokens.pair(user, opened, successor)

    async def _kill(
        self,
        session: AsyncSession,
        user: User,
        opened: SignInSession,
        used: RefreshToken,
        now: datetime,
        address: str,
    ) -> None:
        events = EventRepository(session)
        await SessionRepository(session).end(opened.id, now)
        await events.revoke("session", opened.id, now)
        await events.record(
            "refresh_token_reused",
            now,
            actor=str(user.id),
            subject=opened.id,
            address=address,
            token_id=used.id,
        )
        log.warning("refresh_token_reused", user_id=str(user.id), session_id=str(opened.id))

    async def revoke(self, token: str, address: str) -> None:
        """Make a token or API key worthless; whoever holds it may (RFC 7009).

        A refresh or old-API token ends its session, an access token only itself. What is not one
        of ours, or is over, needs nothing done; the answer is the same, so that nobody can ask.
        """
        if is_api_key(token):
            await self.api_keys.revoke_shown(token)
            return
        try:
            claims = self._read_any(token)
        except TokenRefused:
            return
        now = self.clock()
        async with self.sessions.begin() as session:
            events = EventRepository(session)
            if claims.type is TokenType.ACCESS or claims.session_id is None:
                await events.revoke("token", claims.token_id, now)
                await events.record(
                    "token_revoked",
                    now,
                    actor=claims.subject,
                    subject=claims.token_id,
                    address=address,
                )
            else:
                await self._end(session, SessionId(UUID(claims.session_id)), claims.subject, now)

    async def page(
        self, user_id: UserId, after: UUID | None, limit: int
    ) -> Sequence[SignInSession]:
        """Up to `limit` of an account's open sessions, newest first."""
        async with self.sessions.begin() as session:
            return await SessionRepository(session).page_open(
                user_id, self.clock(), None if after is None else SessionId(after), limit
            )

    async def end(self, session_id: SessionId, user_id: UserId) -> None:
        """End one of an account's own sessions, with every token of it.

        Raises:
            SessionNotFound: the account has no open session with this identifier.
        """
        async with self.sessions.begin() as session:
            opened = await SessionRepository(session).find(session_id)
            if opened is None or opened.user_id != user_id:
                raise SessionNotFound("There is no open session with this identifier.")
            if not await self._end(session, session_id, str(user_id), self.clock()):
                raise SessionNotFound("There is no open session with this identifier.")

    async def _end(
        self, session: AsyncSession, session_id: SessionId, actor: str, now: datetime
    ) -> bool:
        if not await SessionRepository(session).end(session_id, now):
            return False
        events = EventRepository(session)
        await events.revoke("session", session_id, now)
        await events.record("session_ended", now, actor=actor, subject=session_id)
        log.info("session_ended", session_id=str(session_id))
        return True

    def _read(self, token: str) -> Claims:
        try:
            return self.tokens.keys.door.verify(
                token,
                type=TokenType.REFRESH,
                audience=REFRESH_AUDIENCE,
                now=self.clock().timestamp(),
            )
        except TokenRefused as error:
            raise _refused() from error

    def _read_any(self, token: str) -> Claims:
        """Verify a token of whichever type it says it is, for whomever it was meant."""
        door = self.tokens.keys.door
        type_ = door.peek_type(token)
        refused = TokenRefused(Refusal.INVALID)
        for audience in AUDIENCES[type_]:
            try:
                return door.verify(
                    token, type=type_, audience=audience, now=self.clock().timestamp()
                )
            except TokenRefused as error:
                refused = error
        raise refused


def _refused() -> InvalidGrant:
    return InvalidGrant("The refresh token is not valid.")
