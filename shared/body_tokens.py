"""Tokens of old wires that carry them inside the body, where the gateway does not look.

The service takes such a token out and checks it here, through the same strict door and against the
same revocations as the gateway checks a header.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Protocol

import httpx

from shared.assertions import HEADER, AssertionSigner, Caller, Refusal
from shared.key_ring import KeyRing, KeysNotFetched
from shared.problems import Unavailable
from shared.revocations import Revocation, Revocations
from shared.tokens import Claims, TokenRefused, TokenType

_JWKS = "/.well-known/jwks.json"


class RevocationsUnknown(Unavailable):
    """Nobody can say at the moment whether this token was revoked."""

    slug, title = "revocations-unknown", "Tokens cannot be checked"


class Revoked(Protocol):
    """What is revoked, as `shared.revocations` keeps it."""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing can have been missed."""

    def refusal(self, claims: Claims) -> Refusal | None:
        """Why `claims` are refused, or None."""

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Call `callback` with every revocation from here on."""


class BodyTokens:
    """Finds the caller behind a token of one old API."""

    def __init__(self, api: str, keys: KeyRing, revocations: Revoked) -> None:
        self._api = api
        self._keys = keys
        self._revocations = revocations

    async def find_caller(self, token: str, *, now: float | None = None) -> Caller:
        """Who was given this token by this API.

        Args:
            token: as the client sent it.
            now: seconds since 1970; unset: the present.

        Raises:
            TokenRefused: it is not a token of this API, or is expired or revoked.
            Unavailable: it cannot be checked at the moment, so nobody is let in.
        """
        claims = await self.verify(token, TokenType.LEGACY, now=now)
        return Caller(
            subject=claims.subject,
            kind=claims.kind,
            username=claims.username,
            roles=claims.roles,
            scopes=claims.scopes,
            token_id=claims.token_id,
            session_id=claims.session_id,
            credential="token",
        )

    async def verify(
        self,
        token: str,
        kind: TokenType,
        *,
        audience: str | None = None,
        now: float | None = None,
    ) -> Claims:
        """What a token of one kind says, once it is good.

        Args:
            token: as the client sent it.
            kind: the only kind that is let in.
            audience: whom it must be meant for; unset: this API.
            now: seconds since 1970; unset: the present.

        Raises:
            TokenRefused, Unavailable: as for `find_caller`.
        """
        at = time.time() if now is None else now
        door = self._keys.door
        key_id = door.peek_key_id(token)
        if door.keys.find(key_id, at) is None:
            await self._keys.learn_of(key_id)
        self._keys.require_fresh()
        meant_for = audience or self._api
        claims = self._keys.door.verify(token, type=kind, audience=meant_for, now=at)
        refusal = self.refusal(claims)
        if refusal is not None:
            raise TokenRefused(refusal)
        return claims

    def refusal(self, claims: Claims, *, now: float | None = None) -> Refusal | None:
        """Why what verified once is not good any more, or None; for connections that stay open.

        Raises:
            RevocationsUnknown: it cannot be said at the moment.
        """
        at = time.time() if now is None else now
        if claims.expires_at <= at:
            return Refusal.EXPIRED
        if not self._revocations.is_fresh:
            raise RevocationsUnknown("Tokens cannot be checked at the moment.")
        return self._revocations.refusal(claims)

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Call `callback` with every revocation from here on; it must return at once."""
        self._revocations.on_revoked(callback)


@contextlib.asynccontextmanager
async def open_body_tokens(
    api: str, issuer: str, auth: httpx.AsyncClient, signer: AssertionSigner, database_url: str
) -> AsyncIterator[BodyTokens]:
    """Keep auth's keys and revocations at hand until the block ends.

    Args:
        api: the old API, and the name of the service that speaks it.
        issuer: the `iss` of every token.
        auth: reaches auth.
        signer: speaks in the service's name.
        database_url: where revocations are told.
    """

    async def fetch() -> bytes:
        assertion = signer.sign(Caller(subject=api, kind="service"), "auth")
        try:
            answer = await auth.get(_JWKS, headers={HEADER: assertion})
        except httpx.HTTPError as error:
            raise KeysNotFetched from error
        if answer.status_code != HTTPStatus.OK:
            raise KeysNotFetched
        return answer.content

    keys = KeyRing(issuer, fetch, time.time)
    async with Revocations.listen(database_url) as revocations:
        revocations.on_keys_changed(keys.refresh_soon)
        refreshing = asyncio.create_task(keys.keep_fresh())
        try:
            yield BodyTokens(api, keys, revocations)
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
