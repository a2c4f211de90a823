"""Accounts, roles, scopes and credentials: what they are and the rules they obey."""

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
SessionId = NewType("SessionId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
DeviceId = NewType("DeviceId", UUID)

#: Owner of what nobody signed in for; it cannot log in and is not listed.
ANONYMOUS_ID: Final = UserId(UUID("00000000-0000-7000-8000-000000000001"))

ACCESS_LIFETIME: Final = timedelta(minutes=15)
REFRESH_IDLE: Final = timedelta(days=7)
SESSION_LIFETIME: Final = timedelta(days=30)
#: A client whose connection broke may repeat a refresh this long and gets the same answer.
REFRESH_GRACE: Final = timedelta(seconds=10)
#: No token of any kind lives longer, so a revocation need not be remembered for longer either.
LONGEST_TOKEN_LIFETIME: Final = timedelta(days=30)
CLOCK_SKEW: Final = timedelta(minutes=1)
#: How far tokens may be dated ahead where an account changes more than once in a second: half of
#: the clock skew that doors allow, so that the other half is left for clocks that differ.
FURTHEST_AHEAD: Final = CLOCK_SKEW / 2


class Role(StrEnum):
    """What an account is for."""

    ADMIN = "admin"
    CLINICIAN = "clinician"
    OPERATOR = "operator"
    ANALYST = "analyst"
    DEVELOPER = "developer"
    DEVICE = "device"
    ANONYMOUS = "anonymous"


#: The roles that an administrator may give to a person.
ASSIGNABLE_ROLES: Final = frozenset(Role) - {Role.DEVICE, Role.ANONYMOUS}

SCOPES_OF_ROLE: Final[Mapping[Role, frozenset[str]]] = {
    Role.CLINICIAN: frozenset({"chexray:read", "chexray:write", "netra:read", "netra:write"}),
    Role.OPERATOR: frozenset({"fleet:read", "fleet:write", "fleet:admin"}),
    Role.ANALYST: frozenset({"bqat:read", "bqat:write"}),
    Role.DEVELOPER: frozenset({"scancer:predict", "scancer:read"}),
    Role.DEVICE: frozenset({"fleet:ingest"}),
    Role.ANONYMOUS: frozenset(),
    Role.ADMIN: frozenset(
        {
            "users:admin",
            "audit:read",
            "metrics:read",
            "chexray:read",
            "chexray:write",
            "netra:read",
            "netra:write",
            "netra:admin",
            "fleet:read",
            "fleet:write",
            "fleet:admin",
            "fleet:ingest",
            "bqat:read",
            "bqat:write",
            "bqat:admin",
            "scancer:predict",
            "scancer:read",
            "scancer:admin",
        }
    ),
}

ALL_SCOPES: Final = frozenset().union(*SCOPES_OF_ROLE.values())


def scopes_of(roles: Iterable[Role]) -> frozenset[str]:
    """Everything that holders of `roles` may do."""
    return frozenset[str]().union(*(SCOPES_OF_ROLE[role] for role in roles))


@dataclass(frozen=True, slots=True)
class LegacyApi:
    """What a sign-up or login through one old API is worth."""

    name: str
    token_lifetime: timedelta
    sign_up_role: Role
    scopes: frozenset[str]


#: DESIGN: chexray tokens live 30 days, Netra's 2 hours, a fleet user's 12 hours.
LEGACY_APIS: Final[Mapping[str, LegacyApi]] = {
    api.name: api
    for api in (
        LegacyApi(
            "chexray",
            timedelta(days=30),
            Role.CLINICIAN,
            frozenset({"chexray:read", "chexray:write"}),
        ),
        LegacyApi(
            "netra", timedelta(hours=2), Role.CLINICIAN, frozenset({"netra:read", "netra:write"})
        ),
        LegacyApi("fleet", timedelta(hours=12), Role.OPERATOR, SCOPES_OF_ROLE[Role.OPERATOR]),
        LegacyApi("bqat", timedelta(hours=12), Role.ANALYST, SCOPES_OF_ROLE[Role.ANALYST]),
        LegacyApi("scancer", timedelta(hours=12), Role.DEVELOPER, SCOPES_OF_ROLE[Role.DEVELOPER]),
    )
}


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: UserId
    username: str
    email: str | None
    password_hash: str | None
    """None where nobody can sign in with a password."""
    roles: tuple[Role, ...]
    created_at: datetime
    disabled_at: datetime | None
    tokens_valid_from: int
    """Seconds since 1970: tokens issued before are refused."""

    @property
    def scopes(self) -> frozenset[str]:
        """Everything this account may do."""
        return scopes_of(self.roles)

    @property
    def is_disabled(self) -> bool:
        """Whether the account may do nothing for now."""
        return self.disabled_at is not None

    def issue_instant(self, now: datetime) -> int:
        """The `iat` of a token minted now, never before the last revocation of this account.

        Revocations end on a whole second, as `iat` does. A token minted in the same second
        after the revocation is dated to its end, so that it is told apart from earlier ones.
        """
        return max(int(now.timestamp()), self.tokens_valid_from)

    def says_otherwise(self, before: "User") -> bool:
        """Whether a token or password check of `before` may say what is no longer true.

        Only the e-mail address stands in no token and proves nothing.
        """
        return replace(before, email=self.email, tokens_valid_from=self.tokens_valid_from) != self

    def next_valid_from(self, now: datetime) -> int | None:
        """The end of a revocation made now: behind every token of this account so far.

        It is a second later each time, also within one second; None where that would date tokens
        further ahead than `FURTHEST_AHEAD`.
        """
        valid_from = self.issue_instant(now) + 1
        furthest = int((now + FURTHEST_AHEAD).timestamp())
        return valid_from if valid_from <= furthest else None


SessionKind = Literal["modern", "legacy"]


@dataclass(frozen=True, slots=True)
class SignInSession:
    """One sign-in of one client: a family of tokens that lives and dies together."""

    id: SessionId
    user_id: UserId
    kind: SessionKind
    api: str | None
    """The old API it was opened through."""
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What is known of one refresh token; the token itself is signed again when needed."""

    id: str
    session_id: SessionId
    access_id: str
    """The `jti` of the access token that was handed out beside it."""
    key_id: str
    issued_at: int
    expires_at: int
    used_at: datetime | None
    successor_id: str | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential for programs; only its digest is kept."""

    id: ApiKeyId
    user_id: UserId
    name: str
    hint: str
    """The last four characters, so that a person can tell keys apart."""
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Device:
    """The account of a machine."""

    id: DeviceId
    name: str | None
    """What it registered under: a network address, which is no secret."""
    password_hash: str | None
    """None where its service checks a key instead."""
    created_at: datetime
    disabled_at: datetime | None
    tokens_valid_from: int
    """Seconds since 1970: tokens issued before are refused."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One security event."""

    id: UUID
    at: datetime
    event: str
    actor: str | None
    """Who did it: a user's id, or the name of a service."""
    subject: str | None
    """The account, session or key that it was done to."""
    address: str | None
    detail: Mapping[str, str]


def new_id(now: datetime) -> UUID:
    """A UUID of version 7 (RFC 9562, section 5.7): sortable by time, 74 random bits."""
    milliseconds = int(now.timestamp() * 1000)
    random = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62
    return UUID(int=value | random & (1 << 62) - 1)


def new_token_id() -> str:
    """128 random bits, for `jti`."""
    return secrets.token_hex(16)


def utc_now() -> datetime:
    """The present, timezone-aware."""
    return datetime.fromtimestamp(time.time(), UTC)


# Usernames


_USERNAME = re.compile(r"[\w.@+-]{1,150}", re.UNICODE)


def is_username(text: str) -> bool:
    """Whether `text` can name an account: the rule of the old sign-up, which Django set."""
    return _USERNAME.fullmatch(text) is not None


def account_key(username: str) -> str:
    """What stands for a user name in counters and logs, whether or not the account exists."""
    return hashlib.sha256(username.encode(errors="surrogatepass")).hexdigest()[:32]


# API keys: `vdt_`, 160 random bits and a checksum, so that a mistyped or cut key is refused
# without a look at the database, and scanners can find leaked ones without false alarms.

API_KEY_PREFIX: Final = "vdt_"
_API_KEY_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_API_KEY_RANDOM_CHARACTERS: Final = 32
_API_KEY_CHECK_CHARACTERS: Final = 6
_API_KEY = re.compile(rf"vdt_[{_API_KEY_ALPHABET}]{{38}}")


def new_api_key() -> str:
    """A new secret of 160 random bits."""
    body = "".join(secrets.choice(_API_KEY_ALPHABET) for _ in range(_API_KEY_RANDOM_CHARACTERS))
    return f"{API_KEY_PREFIX}{body}{_checksum(body)}"


def is_api_key(text: str) -> bool:
    """Whether `text` has the form and checksum of an API key; it need not exist."""
    if _API_KEY.fullmatch(text) is None:
        return False
    body = text[len(API_KEY_PREFIX) : -_API_KEY_CHECK_CHARACTERS]
    return text.endswith(_checksum(body))


def api_key_digest(key: str) -> str:
    """What is stored of `key`: SHA-256 suffices for 160 random bits, unlike for passwords."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    return "".join(
        _API_KEY_ALPHABET[value >> 5 * place & 31] for place in range(_API_KEY_CHECK_CHARACTERS)
    )
