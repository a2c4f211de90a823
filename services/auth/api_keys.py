"""API keys: credentials for programs, made by people, never worth more than their owner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.domain import (
    ApiKey,
    ApiKeyId,
    User,
    UserId,
    api_key_digest,
    is_api_key,
    new_api_key,
    new_id,
)
from services.auth.errors import (
    ApiKeyNotFound,
    ExpiryPast,
    ScopeNotHeld,
    TooManyApiKeys,
    WrongCredentials,
)
from services.auth.repositories.api_keys import ApiKeyRepository
from services.auth.repositories.events import EventRepository
from services.auth.repositories.users import UserRepository

log = structlog.get_logger(__name__)

MAX_KEYS_PER_USER: Final = 100


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key at the one moment when its secret is known."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a valid API key speaks for, and what it may do for them."""

    user: User
    key: ApiKey

    @property
    def scopes(self) -> frozenset[str]:
        """What key and owner both may do: a right that the owner has lost is lost here too."""
        return self.key.scopes & self.user.scopes


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Makes, lists, checks and revokes API keys."""

    sessions: async_sessionmaker[AsyncSession]
    clock: Callable[[], datetime]

    async def create(
        self,
        user_id: UserId,
        name: str,
        scopes: frozenset[str],
        expires_at: datetime | None,
    ) -> NewApiKey:
        """Make a key; its secret is shown this once.

        Raises:
            ExpiryPast: it would never be good.
            ScopeNotHeld: the owner lacks one of the scopes.
            TooManyApiKeys: the owner has a hundred of them.
        """
        now = self.clock()
        if expires_at is not None and expires_at <= now:
            raise ExpiryPast("The key would be over before its first use.")
        secret = new_api_key()
        key = ApiKey(
            id=ApiKeyId(new_id(now)),
            user_id=user_id,
            name=name,
            hint=secret[-4:],
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
        )
        async with self.sessions.begin() as session:
            owner = await UserRepository(session).get_for_update(user_id)
            missing = scopes - owner.scopes
            if missing:
                raise ScopeNotHeld("You do not hold these scopes.", scopes=sorted(missing))
            keys = ApiKeyRepository(session)
            if await keys.count(user_id) >= MAX_KEYS_PER_USER:
                raise TooManyApiKeys(f"An account has at most {MAX_KEYS_PER_USER} API keys.")
            await keys.add(key, api_key_digest(secret))
            await EventRepository(session).record(
                "api_key_created", now, actor=str(user_id), subject=key.id
            )
        log.info("api_key_created", user_id=str(user_id), api_key_id=str(key.id))
        return NewApiKey(key, secret)

    async def page(self, user_id: UserId, after: UUID | None, limit: int) -> Sequence[ApiKey]:
        """Up to `limit` of an account's keys, oldest first; without their secrets."""
        async with self.sessions.begin() as session:
            return await ApiKeyRepository(session).page(
                user_id, None if after is None else ApiKeyId(after), limit
            )

    async def check(self, secret: str) -> KeyHolder:
        """Whom a key speaks for.

        Raises:
            WrongCredentials: it is malformed, unknown, revoked or over, or its owner is disabled.
        """
        if not is_api_key(secret):
            raise _refused()
        now = self.clock()
        async with self.sessions.begin() as session:
            keys = ApiKeyRepository(session)
            key = await keys.find_valid(api_key_digest(secret), now)
            owner = None if key is None else await UserRepository(session).find(key.user_id)
            if key is None or owner is None or owner.is_disabled:
                raise _refused()
            await keys.note_use(key.id, now)
        return KeyHolder(owner, key)

    async def revoke(self, key_id: ApiKeyId, user_id: UserId) -> None:
        """Revoke one of an account's own keys.

        Raises:
            ApiKeyNotFound: the account has none with this identifier.
        """
        async with self.sessions.begin() as session:
            if not await self._revoke(session, key_id, user_id):
                raise ApiKeyNotFound("There is no API key with this identifier.")

    async def revoke_shown(self, secret: str) -> None:
        """Revoke the key whose secret is shown, if it is one; whoever holds it may."""
        async with self.sessions.begin() as session:
            keys = ApiKeyRepository(session)
            key = await keys.find_valid(api_key_digest(secret), self.clock())
            if key is not None:
                await self._revoke(session, key.id, key.user_id)

    async def _revoke(self, session: AsyncSession, key_id: ApiKeyId, user_id: UserId) -> bool:
        now = self.clock()
        revoked = await ApiKeyRepository(session).revoke(key_id, user_id, now)
        if revoked:
            events = EventRepository(session)
            await events.revoke("token", key_id, now)
            await events.record("api_key_revoked", now, actor=str(user_id), subject=key_id)
            log.info("api_key_revoked", user_id=str(user_id), api_key_id=str(key_id))
        return revoked


def _refused() -> WrongCredentials:
    return WrongCredentials("The API key is not valid.")
