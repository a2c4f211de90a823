"""Who is calling: reads every kind of credential and finds the caller behind it.

A verified signature is remembered by the token's hash, because the same bytes verify again.
Expiry, revocation and the signing key's own end are looked at for every single request.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

from gateway.bounded import BoundedMap
from gateway.introspection import CredentialRefused, Introspection, Scheme
from gateway.route import Accepted, Route
from shared.assertions import (
    ANONYMOUS,
    LIFETIME_S,
    AssertionSigner,
    Caller,
    Credential,
    Refusal,
)
from shared.key_ring import KeyRing
from shared.problems import Unavailable
from shared.revocations import Revocation
from shared.tokens import Claims, TokenRefused, TokenType

API_KEY_PREFIX: Final = b"vdt_"
MODERN_AUDIENCE: Final = "vedette"
#: The only service that devices speak to.
DEVICE_AUDIENCE: Final = "fleet"
_MAX_CREDENTIAL_BYTES: Final = 8192 + 16
_REMEMBERED: Final = 16_384
#: Half of an assertion's life is left for a request that waits its turn in a service.
_REUSE_ASSERTION_S: Final = LIFETIME_S / 2
_query_token = re.compile(rb"(?:^|&)token=([^&]*)").search
_names_token = re.compile(
    rb"(?i)(?:^|&)(?:t|%[57]4)(?:o|%[46]f)(?:k|%[46]b)(?:e|%[46]5)(?:n|%[46]e)(?:=|&|$)"
).search


class RevocationsUnknown(Unavailable):
    """Nobody can say at the moment whether this credential was revoked."""

    slug, title = "revocations-unknown", "Credentials cannot be checked"


class Revoked(Protocol):
    """What is revoked, as `shared.revocations` keeps it."""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing can have been missed."""

    def refusal(self, claims: Claims) -> Refusal | None:
        """Why `claims` are refused, or None."""

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Call `callback` with every revocation from here on."""

    def on_keys_changed(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever auth's key set may have changed."""


@dataclass(slots=True)
class Verified:
    """A caller whose credential verified once, and the assertions made for it."""

    caller: Caller
    expires_at: float
    """Seconds since 1970; the credential is worth nothing from then on."""
    claims: Claims | None = None
    """Of a token; what auth was asked about has none."""
    rate_key: str = ""
    assertions: dict[str, tuple[bytes, float]] = field(default_factory=dict)


def _anonymous(refusal: Refusal | None) -> Verified:
    caller = Caller(subject="anonymous", kind="anonymous", refusal=refusal)
    return Verified(caller if refusal else ANONYMOUS, float("inf"))


class Doorman:
    """Finds the caller of a request, or the reason why its credential is refused."""

    def __init__(
        self,
        keys: KeyRing,
        revocations: Revoked,
        introspection: Introspection,
        signers: dict[str, AssertionSigner],
        *,
        introspection_ttl_s: float,
    ) -> None:
        self._keys = keys
        self._revocations = revocations
        self._introspection = introspection
        self._signers = signers
        self._introspection_ttl_s = introspection_ttl_s
        self._tokens: BoundedMap[tuple[TokenType, str, bytes], Verified] = BoundedMap(_REMEMBERED)
        self._introspected: BoundedMap[bytes, Verified] = BoundedMap(_REMEMBERED // 4)
        self._generation = 0
        self._nobody = {reason: _anonymous(reason) for reason in (None, *Refusal)}
        revocations.on_revoked(self._forget)

    def nobody(self, refusal: Refusal | None = None) -> Verified:
        """The anonymous caller, with the reason why its credential was not accepted."""
        return self._nobody[refusal]

    def assertion(self, verified: Verified, service: str, now: float) -> bytes:
        """The `Vedette-Assertion` for `service`; one text serves for half of its life."""
        made = verified.assertions.get(service)
        if made is not None and now - made[1] < _REUSE_ASSERTION_S:
            return made[0]
        text = self._signers[service].sign(verified.caller, service, now=now).encode("ascii")
        verified.assertions[service] = (text, now)
        return text

    def recheck(self, verified: Verified, now: float) -> Refusal | None:
        """Why a caller that was let in would not be let in any more, or None.

        Raises:
            RevocationsUnknown: it cannot be said; the caller must not be let in.
        """
        if now >= verified.expires_at:
            return Refusal.EXPIRED
        claims = verified.claims
        if claims is None:
            return None
        if self._keys.door.keys.find(claims.key_id, now) is None:
            return Refusal.INVALID
        if not self._revocations.is_fresh:
            raise RevocationsUnknown("Tokens cannot be checked at the moment.")
        return self._revocations.refusal(claims)

    def remembered(self, route: Route, authorization: bytes, now: float) -> Verified | None:
        """The caller behind an access token that was seen before and is still good.

        This is `find` for the common case, without waiting for anything; None means: ask `find`.
        """
        if not authorization.startswith(b"Bearer ") or Accepted.ACCESS not in route.accepts:
            return None
        digest = sha256(authorization[7:]).digest()
        verified = self._tokens.get((TokenType.ACCESS, MODERN_AUDIENCE, digest))
        if verified is None or not self._keys.is_usable or self.recheck(verified, now) is not None:
            return None
        return verified

    async def find(
        self, route: Route, authorization: bytes | None, query: bytes, address: str, now: float
    ) -> Verified:
        """The caller of a request on `route`; anonymous when it shows nothing.

        Args:
            route: says which kinds of credential are looked at.
            authorization: the header's value.
            query: may hold a `token` on routes that take one there.
            address: the client's, for auth's limits.
            now: seconds since 1970.

        Raises:
            CredentialRefused: a credential of a kind that the route looks at is not good.
            Problem: it cannot be checked at the moment, or was tried too often.
        """
        if authorization is None:
            if Accepted.QUERY in route.accepts and (found := _query_token(query)):
                return await self._legacy(route, found[1], now, "query")
            return self._nobody[None]
        if len(authorization) > _MAX_CREDENTIAL_BYTES:
            raise CredentialRefused(Refusal.INVALID)
        scheme, _, rest = authorization.partition(b" ")
        scheme = scheme.lower()
        if scheme == b"bearer":
            return await self._bearer(route, rest.strip(b" "), address, now)
        if scheme == b"token" and Accepted.LEGACY in route.accepts:
            return await self._legacy(route, _read_token_header(authorization), now, "token")
        if scheme == b"basic" and Accepted.BASIC in route.accepts:
            return await self._introspect("basic", rest.strip(b" "), address, now)
        if route.refused_by == "service" or not route.accepts:
            # The old servers ignored a scheme that they did not know.
            return self._nobody[None]
        raise CredentialRefused(Refusal.INVALID)

    async def _bearer(self, route: Route, token: bytes, address: str, now: float) -> Verified:
        try:
            if token.startswith(API_KEY_PREFIX):
                if Accepted.API_KEY in route.accepts:
                    return await self._introspect("api-key", token, address, now)
            elif Accepted.DEVICE in route.accepts and self._is_device_token(token):
                return await self._token(token, TokenType.DEVICE, DEVICE_AUDIENCE, now, "bearer")
            elif Accepted.ACCESS in route.accepts:
                return await self._token(token, TokenType.ACCESS, MODERN_AUDIENCE, now, "bearer")
        except CredentialRefused:
            if route.refused_by == "gateway":
                raise
        if route.refused_by == "service" or not route.accepts:
            return self._nobody[None]
        raise CredentialRefused(Refusal.INVALID)

    def _is_device_token(self, token: bytes) -> bool:
        """Whether a token says of itself that it is a device's; nothing is verified yet."""
        try:
            return self._keys.door.peek_type(token.decode("ascii")) is TokenType.DEVICE
        except (UnicodeDecodeError, TokenRefused):
            return False

    async def _legacy(
        self, route: Route, token: bytes, now: float, credential: Credential
    ) -> Verified:
        if route.legacy_audience is None:
            raise CredentialRefused(Refusal.INVALID)
        return await self._token(token, TokenType.LEGACY, route.legacy_audience, now, credential)

    async def _token(
        self, token: bytes, kind: TokenType, audience: str, now: float, credential: Credential
    ) -> Verified:
        # Type and audience decide what a token may be remembered as: fleet has tokens of two types.
        key = (kind, audience, sha256(token).digest())
        verified = self._tokens.get(key)
        if verified is None:
            claims = await self._verify(token, kind, audience, now)
            caller = Caller(
                subject=claims.subject,
                kind=claims.kind,
                username=claims.username,
                roles=claims.roles,
                scopes=claims.scopes,
                token_id=claims.token_id,
                session_id=claims.session_id,
                credential=credential,
            )
            verified = Verified(caller, claims.expires_at, claims, claims.subject)
            self._tokens.put(key, verified)
        self._keys.require_fresh()
        refusal = self.recheck(verified, now)
        if refusal is not None:
            raise CredentialRefused(refusal)
        return verified

    async def _verify(self, token: bytes, kind: TokenType, audience: str, now: float) -> Claims:
        try:
            text = token.decode("ascii")
            key_id = self._keys.door.peek_key_id(text)
            if self._keys.door.keys.find(key_id, now) is None:
                await self._keys.learn_of(key_id)
            self._keys.require_fresh()
            return self._keys.door.verify(text, type=kind, audience=audience, now=now)
        except UnicodeDecodeError as error:
            raise CredentialRefused(Refusal.INVALID) from error
        except TokenRefused as error:
            raise CredentialRefused(error.reason) from error

    async def _introspect(
        self, scheme: Scheme, secret: bytes, address: str, now: float
    ) -> Verified:
        key = sha256(scheme.encode() + b" " + secret).digest()
        verified = self._introspected.get(key)
        if verified is not None and now < verified.expires_at:
            return verified
        if not self._revocations.is_fresh:
            raise RevocationsUnknown("Credentials cannot be checked at the moment.")
        try:
            text = secret.decode("ascii")
        except UnicodeDecodeError as error:
            raise CredentialRefused(Refusal.INVALID) from error
        generation = self._generation
        caller, expires_at = await self._introspection.ask(scheme, text, address)
        # Revocations empty this memory; the short time covers what is not announced.
        forget_at = min(expires_at, now + self._introspection_ttl_s)
        verified = Verified(caller, forget_at, rate_key=caller.subject)
        # What was revoked while auth was thinking must not be remembered as good.
        if generation == self._generation:
            self._introspected.put(key, verified)
        return verified

    def _forget(self, _: Revocation) -> None:
        """Ask auth again about everything: revocations are rare, and asking is cheap."""
        self._generation += 1
        self._introspected.clear()


def _read_token_header(authorization: bytes) -> bytes:
    """The token of `Authorization: Token <token>`, read as the old API read it."""
    parts = authorization.split()
    if len(parts) == 1:
        raise CredentialRefused(Refusal.NO_CREDENTIALS)
    if len(parts) > 2:
        raise CredentialRefused(Refusal.SPACES)
    if not parts[1].isascii():
        raise CredentialRefused(Refusal.CHARACTERS)
    return parts[1]


def without_query_token(query: bytes) -> bytes:
    """`query` without any member called `token`, however it is spelt."""
    if _names_token(query) is None:
        return query
    return b"&".join(part for part in query.split(b"&") if not _names_token(part))
