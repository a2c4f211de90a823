"""What a session's tokens are: access and refresh in pairs, or one token of an old API.

Signing is deterministic, so a token is not stored: the same facts give the same token again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import (
    ACCESS_LIFETIME,
    LEGACY_APIS,
    REFRESH_IDLE,
    SCOPES_OF_ROLE,
    Device,
    LegacyApi,
    RefreshToken,
    Role,
    SignInSession,
    User,
    new_token_id,
)
from services.auth.key_ring import KeyRing
from services.auth.repositories.sessions import SessionRepository
from shared.tokens import Claims, TokenType

ACCESS_AUDIENCE: Final = "vedette"
REFRESH_AUDIENCE: Final = "auth"
DEVICE_AUDIENCE: Final = "fleet"

#: For whom tokens of each type can be meant.
AUDIENCES: Final[Mapping[TokenType, Collection[str]]] = {
    TokenType.ACCESS: (ACCESS_AUDIENCE,),
    TokenType.REFRESH: (REFRESH_AUDIENCE,),
    TokenType.LEGACY: LEGACY_APIS.keys(),
    TokenType.DEVICE: (DEVICE_AUDIENCE,),
}


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a sign-in or a refresh hands out."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds for which the access token is good."""
    scope: str


@dataclass(frozen=True, slots=True)
class LegacyToken:
    """What a sign-up or login through an old API hands out."""

    user: User
    token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """What a device gets."""

    device: Device
    token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mints what sessions hand out."""

    issuer: str
    keys: KeyRing
    clock: Callable[[], datetime]

    async def open_family(
        self, session: AsyncSession, user: User, opened: SignInSession
    ) -> TokenPair:
        """The first pair of a session."""
        first = self.new_refresh_token(user, opened, new_token_id())
        await SessionRepository(session).add_refresh_token(first)
        return self.pair(user, opened, first)

    def new_refresh_token(self, user: User, opened: SignInSession, token_id: str) -> RefreshToken:
        """The facts of a refresh token: good for a week, and never longer than its session."""
        issued_at = user.issue_instant(self.clock())
        idle_end = issued_at + int(REFRESH_IDLE.total_seconds())
        return RefreshToken(
            id=token_id,
            session_id=opened.id,
            access_id=new_token_id(),
            key_id=self.keys.active_id,
            issued_at=issued_at,
            expires_at=min(idle_end, int(opened.expires_at.timestamp())),
            used_at=None,
            successor_id=None,
        )

    def pair(self, user: User, opened: SignInSession, refresh: RefreshToken) -> TokenPair:
        """The tokens that belong to `refresh`; for the same facts, the same tokens."""
        lifetime_s = int(ACCESS_LIFETIME.total_seconds())
        access = Claims(
            type=TokenType.ACCESS,
            issuer=self.issuer,
            subject=str(user.id),
            audience=ACCESS_AUDIENCE,
            issued_at=refresh.issued_at,
            expires_at=refresh.issued_at + lifetime_s,
            token_id=refresh.access_id,
            kind="user",
            scopes=user.scopes,
            username=user.username,
            roles=tuple(user.roles),
            session_id=str(opened.id),
        )
        # It opens the token endpoint and nothing else, so it says nothing about its owner.
        renewal = Claims(
            type=TokenType.REFRESH,
            issuer=self.issuer,
            subject=str(user.id),
            audience=REFRESH_AUDIENCE,
            issued_at=refresh.issued_at,
            expires_at=refresh.expires_at,
            token_id=refresh.id,
            kind="user",
            scopes=frozenset(),
            username="",
            roles=(),
            session_id=str(opened.id),
        )
        return TokenPair(
            access_token=self.keys.sign(access, key_id=refresh.key_id),
            refresh_token=self.keys.sign(renewal, key_id=refresh.key_id),
            expires_in=lifetime_s,
            scope=" ".join(sorted(user.scopes)),
        )

    def for_old_api(self, user: User, opened: SignInSession, api: LegacyApi) -> LegacyToken:
        """One token, valid for `api` alone, with no more rights than that API needs."""
        issued_at = user.issue_instant(self.clock())
        lifetime_s = int(api.token_lifetime.total_seconds())
        claims = Claims(
            type=TokenType.LEGACY,
            issuer=self.issuer,
            subject=str(user.id),
            audience=api.name,
            issued_at=issued_at,
            expires_at=issued_at + lifetime_s,
            token_id=new_token_id(),
            kind="user",
            scopes=user.scopes & api.scopes,
            username=user.username,
            roles=tuple(user.roles),
            session_id=str(opened.id),
        )
        return LegacyToken(user, self.keys.sign(claims), lifetime_s)

    def for_device(self, device: Device, lifetime: timedelta) -> DeviceToken:
        """One token that opens fleet's routes for devices and nothing else."""
        issued_at = max(int(self.clock().timestamp()), device.tokens_valid_from)
        lifetime_s = int(lifetime.total_seconds())
        claims = Claims(
            type=TokenType.DEVICE,
            issuer=self.issuer,
            subject=str(device.id),
            audience=DEVICE_AUDIENCE,
            issued_at=issued_at,
            expires_at=issued_at + lifetime_s,
            token_id=new_token_id(),
            kind="device",
            scopes=SCOPES_OF_ROLE[Role.DEVICE],
            username="",
            roles=(Role.DEVICE,),
            session_id=None,
        )
        return DeviceToken(device, self.keys.sign(claims), lifetime_s)
