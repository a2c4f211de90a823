"""The RS256 keys: next, active, retired; shared by every replica through the database.

The next key is published before it signs anything, so that verifiers know it in time. A retired
key stays published until the last token that it signed has expired. Replicas take turns through
an advisory lock; one that has not heard of a rotation yet signs with a key that is still good.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import anyio.to_thread
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.domain import CLOCK_SKEW, LONGEST_TOKEN_LIFETIME
from services.auth.errors import TooManySigningKeys
from services.auth.repositories.events import EventRepository
from services.auth.repositories.signing_keys import KeyState, SigningKeyRepository, StoredKey
from shared.db import DatabaseAway
from shared.keys import WeakKey
from shared.tokens import Claims, KeySet, TokenDoor, mint, public_jwk

log = structlog.get_logger(__name__)

RSA_BITS: Final = 2048
#: Below what verifiers accept in one set, so that no rotation can make them refuse it.
MAX_KEYS: Final = 24
#: What was read so recently is published without another look at the database.
FRESH: Final = timedelta(seconds=1)
_NONCE_BYTES: Final = 12

#: How long a retired key is accepted: until the longest-lived token it may have signed is over.
#: A replica that has not heard of the rotation signs with it a little longer, hence the skew.
OVERLAP: Final = LONGEST_TOKEN_LIFETIME + 2 * CLOCK_SKEW


class KeyWrapping:
    """Encrypts private keys at rest: AES-256-GCM, bound to the id of the key that is wrapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key[:32])

    def wrap(self, key_id: str, private_key: RSAPrivateKey) -> bytes:
        """Nonce and ciphertext of the key in PKCS #8."""
        plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, key_id.encode())

    def unwrap(self, key_id: str, wrapped: bytes) -> RSAPrivateKey:
        """The private key.

        Raises:
            WeakKey: it was wrapped with another key-encryption key, or for another id.
        """
        nonce, ciphertext = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            plain = self._cipher.decrypt(nonce, ciphertext, key_id.encode())
        except InvalidTag as error:
            raise WeakKey(
                f"The signing key {key_id} was encrypted with another key-encryption key."
            ) from error
        key = load_der_private_key(plain, password=None)
        if not isinstance(key, RSAPrivateKey):
            raise WeakKey(f"The signing key {key_id} is not an RSA key.")
        return key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that this process can sign with."""

    id: str
    state: KeyState
    private_key: RSAPrivateKey
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Ring:
    """One state of the set, exchanged as a whole."""

    keys: tuple[SigningKey, ...]
    active: SigningKey
    jwks: dict[str, Any]
    door: TokenDoor


class KeyRing:
    """Signs with the active key, publishes all of them, and rotates."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        wrapping: KeyWrapping,
        issuer: str,
        clock: Callable[[], datetime],
        *,
        rotation: timedelta,
    ) -> None:
        self._sessions = sessions
        self._wrapping = wrapping
        self._issuer = issuer
        self._clock = clock
        self._rotation = rotation
        self._ring: _Ring | None = None
        self._read_at: datetime | None = None

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """Every key that is published, oldest first."""
        return self._current.keys

    @property
    def active_id(self) -> str:
        """The id of the key that signs."""
        return self._current.active.id

    async def publish(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set, with those that another replica has just made.

        While the database is away, the set that was read last is published.
        """
        if self._read_at is None or self._clock() - self._read_at > FRESH:
            try:
                await self.reload()
            except (DatabaseAway, SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("signing_keys_not_read", error=type(error).__name__)
        return self._current.jwks

    @property
    def door(self) -> TokenDoor:
        """Verifies what these keys have signed."""
        return self._current.door

    def sign(self, claims: Claims, *, key_id: str | None = None) -> str:
        """Mint a token with the active key, or again with the one that it was minted with."""
        ring = self._current
        key = next((key for key in ring.keys if key.id == key_id), ring.active)
        return mint(claims, key.private_key, key.id)

    async def prepare(self) -> None:
        """Make the first keys, rotate when it is time, drop what is over, and read the rest."""
        now = self._clock()
        async with self._sessions.begin() as session:
            stored = SigningKeyRepository(session)
            await stored.lock()
            await stored.delete_over(now)
            active = next((key for key in await stored.all() if key.state == "active"), None)
            since = None if active is None else active.activated_at or active.created_at
            if since is None:
                await stored.add(await self._generate("active", now))
            elif now - since >= self._rotation:
                await self._advance(session, now, actor=None)
            if all(key.state != "next" for key in await stored.all()):
                await stored.add(await self._generate("next", now))
        await self.reload()

    async def rotate(self, actor: str) -> None:
        """Let the next key sign from now on; the active one retires.

        Raises:
            TooManySigningKeys: verifiers would not take a set that large.
        """
        async with self._sessions.begin() as session:
            stored = SigningKeyRepository(session)
            await stored.lock()
            if len(await stored.all()) >= MAX_KEYS:
                raise TooManySigningKeys("So many keys are still accepted; wait until one is over.")
            await self._advance(session, self._clock(), actor=actor)
        await self.reload()

    async def reload(self) -> None:
        """Read the keys that the database holds."""
        async with self._sessions.begin() as session:
            stored = await SigningKeyRepository(session).all()
        known = {key.id: key.private_key for key in self._ring.keys} if self._ring else {}
        keys = tuple(self._read(key, known.get(key.id)) for key in stored)
        jwks = {"keys": [_published(key) for key in keys]}
        active = next(key for key in keys if key.state == "active")
        if self._ring is not None and self._ring.active.id != active.id:
            log.info("signing_key_changed", key_id=active.id)
        self._ring = _Ring(keys, active, jwks, TokenDoor(self._issuer, KeySet.from_jwks(jwks)))
        self._read_at = self._clock()

    async def _advance(self, session: AsyncSession, now: datetime, actor: str | None) -> None:
        stored = SigningKeyRepository(session)
        await stored.retire_active(now, now + OVERLAP)
        await stored.activate_next(now)
        successor = await self._generate("next", now)
        await stored.add(successor)
        await EventRepository(session).record("keys_rotated", now, actor=actor)

    async def _generate(self, state: KeyState, now: datetime) -> StoredKey:
        private_key = await anyio.to_thread.run_sync(
            lambda: generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
        )
        key_id = _key_id(private_key)
        return StoredKey(
            id=key_id,
            state=state,
            wrapped_private_key=self._wrapping.wrap(key_id, private_key),
            created_at=now,
            activated_at=now if state == "active" else None,
        )

    def _read(self, stored: StoredKey, known: RSAPrivateKey | None) -> SigningKey:
        return SigningKey(
            id=stored.id,
            state=stored.state,
            private_key=known or self._wrapping.unwrap(stored.id, stored.wrapped_private_key),
            created_at=stored.created_at,
            activated_at=stored.activated_at,
            retired_at=stored.retired_at,
            expires_at=stored.expires_at,
        )

    @property
    def _current(self) -> _Ring:
        if self._ring is None:
            raise RuntimeError("The signing keys are used before they were prepared.")
        return self._ring


def _published(key: SigningKey) -> dict[str, Any]:
    end = None if key.expires_at is None else int(key.expires_at.timestamp())
    return public_jwk(key.private_key.public_key(), key.id, expires_at=end)


def _key_id(private_key: RSAPrivateKey) -> str:
    """A name that follows from the key itself, so that two keys never share one."""
    public = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:32]
