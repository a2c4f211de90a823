"""Signing in with a password: on the token endpoint, with Basic, and through the old APIs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.attempts import LoginLimits
from services.auth.domain import (
    SESSION_LIFETIME,
    LegacyApi,
    SessionId,
    SignInSession,
    User,
    account_key,
    is_username,
    new_id,
)
from services.auth.errors import InvalidGrant, WrongCredentials
from services.auth.passwords import PasswordHasher, check_size
from services.auth.repositories.events import EventRepository
from services.auth.repositories.sessions import SessionRepository
from services.auth.repositories.users import UserRepository
from services.auth.tokens import LegacyToken, TokenPair, Tokens

log = structlog.get_logger(__name__)

_WRONG = "The user name or the password is wrong."
_CHANGED = "The account has just changed; log in again."


@dataclass(frozen=True, slots=True)
class SignIn:
    """Checks user names and passwords, and opens sessions for those that are right."""

    sessions: async_sessionmaker[AsyncSession]
    hasher: PasswordHasher
    limits: LoginLimits
    tokens: Tokens
    clock: Callable[[], datetime]

    async def with_password(self, username: str, password: str, address: str) -> TokenPair:
        """Open a session and hand out its first tokens.

        Raises:
            InvalidGrant: there is no such account, it is disabled, or the password is wrong.
            TooManyAttempts: the address or the account has to wait.
        """
        await self.limits.admit_address(address)
        checked = await self._check(username, password, address)
        if checked is None:
            raise InvalidGrant(_WRONG)
        async with self.sessions.begin() as session:
            user = await self._steady(session, checked)
            if user is None:
                raise InvalidGrant(_CHANGED)
            opened = await self._open(session, user, address, None)
            return await self.tokens.open_family(session, user, opened)

    async def with_basic(self, username: str, password: str, address: str) -> User:
        """The account that a Basic credential speaks for; no session is opened.

        The address is charged for failures only: such a client sends its password every time.

        Raises:
            WrongCredentials, TooManyAttempts: as for a login.
        """
        user = await self._check(username, password, address)
        if user is None:
            await self.limits.admit_address(address)
            raise WrongCredentials(_WRONG)
        return user

    async def through_old_api(
        self, api: LegacyApi, username: str, password: str, address: str
    ) -> LegacyToken:
        """Open a session of one old API, with the one token that is valid there alone.

        Raises:
            WrongCredentials, TooManyAttempts: as for a login.
        """
        await self.limits.admit_address(address)
        user = await self._check(username, password, address)
        if user is None:
            raise WrongCredentials(_WRONG)
        return await self.open_old_api(api, user, address)

    async def open_old_api(self, api: LegacyApi, checked: User, address: str) -> LegacyToken:
        """The token of an old API for an account that has proved itself.

        Raises:
            WrongCredentials: the account has changed since.
        """
        async with self.sessions.begin() as session:
            user = await self._steady(session, checked)
            if user is None:
                raise WrongCredentials(_CHANGED)
            await self.limits.know(user.username, address, session)
            opened = await self._open(session, user, address, api)
            return self.tokens.for_old_api(user, opened, api)

    async def _check(self, username: str, password: str, address: str) -> User | None:
        """The account if the password is right, with the same work whether or not it exists.

        No database connection is held while argon2 computes.
        """
        check_size(password)
        async with self.limits.turn(username, address) as attempt:
            async with self.sessions.begin() as session:
                # What cannot be a user name is nobody's; the database is asked all the same.
                wanted = username if is_username(username) else ""
                user = await UserRepository(session).find_by_username(wanted)
            known_hash = None if user is None else user.password_hash
            matches = await self.hasher.verify(known_hash, password)
            async with self.sessions.begin() as session:
                if user is None or not matches or user.is_disabled:
                    await self.limits.failed(attempt, session)
                    await self._record_failure(session, username, user, address)
                    return None
                await self.limits.succeeded(attempt, session)
        await self._renew_hash(user, password)
        return user

    async def _record_failure(
        self, session: AsyncSession, username: str, user: User | None, address: str
    ) -> None:
        await EventRepository(session).record(
            "login_failed",
            self.clock(),
            subject=None if user is None else user.id,
            address=address,
            account=account_key(username),
        )

    async def _steady(self, session: AsyncSession, checked: User) -> User | None:
        """The account, unless it has changed while argon2 ran; then nothing was checked."""
        user = await UserRepository(session).find_steady(checked.id)
        if user is None or user.is_disabled or user.tokens_valid_from != checked.tokens_valid_from:
            return None
        return user

    async def _renew_hash(self, user: User, password: str) -> None:
        """Hash again with today's parameters what was hashed with others."""
        if user.password_hash is None or not self.hasher.is_outdated(user.password_hash):
            return
        renewed = await self.hasher.hash(password)
        async with self.sessions.begin() as session:
            await UserRepository(session).replace_hash(user.id, user.password_hash, renewed)

    async def _open(
        self, session: AsyncSession, user: User, address: str, api: LegacyApi | None
    ) -> SignInSession:
        now = self.clock()
        opened = SignInSession(
            id=SessionId(new_id(now)),
            user_id=user.id,
            kind="modern" if api is None else "legacy",
            api=None if api is None else api.name,
            address=address,
            created_at=now,
            last_used_at=now,
            expires_at=now + (SESSION_LIFETIME if api is None else api.token_lifetime),
            ended_at=None,
        )
        await SessionRepository(session).add(opened)
        await EventRepository(session).record(
            "signed_in", now, actor=str(user.id), subject=opened.id, address=address
        )
        log.info("signed_in", user_id=str(user.id), session_id=str(opened.id), api=opened.api)
        return opened
