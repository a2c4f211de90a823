"""Tokens inside bodies. SECURITY 11, 13 and 23 for the old wires that have them there."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx
import pytest

from shared.assertions import AssertionSigner, AssertionVerifier, Refusal
from shared.body_tokens import BodyTokens, RevocationsUnknown, open_body_tokens
from shared.key_ring import KeyRing, KeysAway
from shared.revocations import Revocation
from shared.tokens import Claims, TokenRefused, TokenType, mint, public_jwk
from tests.forging import CLAIMS, ISSUER, KEY_ID, NOW, claims_of, rsa_key

KEY = b"s" * 32
JWKS = {"keys": [public_jwk(rsa_key().public_key(), KEY_ID)]}
NETRA = replace(CLAIMS, type=TokenType.LEGACY, audience="netra")


@dataclass
class StubRevocations:
    """Knows its answer beforehand."""

    is_fresh: bool = True
    verdict: Refusal | None = None
    callbacks: list[Callable[[Revocation], None]] = field(default_factory=list)

    def refusal(self, claims: Claims) -> Refusal | None:
        """The answer."""
        return self.verdict

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Remember whom to tell."""
        self.callbacks.append(callback)


async def body_tokens(revocations: StubRevocations | None = None) -> BodyTokens:
    """Netra's, with auth's keys."""

    async def fetch() -> bytes:
        return json.dumps(JWKS).encode()

    keys = KeyRing(ISSUER, fetch, lambda: 0.0)
    await keys.refresh()
    return BodyTokens("netra", keys, revocations or StubRevocations())


async def test_a_token_of_this_api_tells_who_calls() -> None:
    tokens = await body_tokens()
    caller = await tokens.find_caller(mint(NETRA, rsa_key(), KEY_ID), now=NOW)

    assert (caller.subject, caller.kind, caller.username) == (NETRA.subject, "user", "grant")
    assert caller.scopes == NETRA.scopes


@pytest.mark.parametrize("kind", TokenType)
async def test_s11_no_other_token_is_taken(kind: TokenType) -> None:
    """Not even a legacy token of another API."""
    tokens = await body_tokens()
    with pytest.raises(TokenRefused) as refused:
        await tokens.find_caller(mint(claims_of(kind), rsa_key(), KEY_ID), now=NOW)

    assert refused.value.reason is Refusal.INVALID


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "Ä.b.c", "." * 9000, "\0"])
async def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        await (await body_tokens()).find_caller(token, now=NOW)


async def test_an_expired_token_is_told_apart() -> None:
    tokens = await body_tokens()
    with pytest.raises(TokenRefused) as refused:
        await tokens.find_caller(mint(NETRA, rsa_key(), KEY_ID), now=NETRA.expires_at)

    assert refused.value.reason is Refusal.EXPIRED


async def test_s23_a_revoked_token_is_refused() -> None:
    tokens = await body_tokens(StubRevocations(verdict=Refusal.REVOKED))
    with pytest.raises(TokenRefused) as refused:
        await tokens.find_caller(mint(NETRA, rsa_key(), KEY_ID), now=NOW)

    assert refused.value.reason is Refusal.REVOKED


async def test_s84_nobody_is_let_in_while_revocations_are_unknown() -> None:
    tokens = await body_tokens(StubRevocations(is_fresh=False))
    with pytest.raises(RevocationsUnknown):
        await tokens.find_caller(mint(NETRA, rsa_key(), KEY_ID), now=NOW)


async def test_keys_come_from_auth_in_the_services_own_name(scratch_database: str) -> None:
    """And nobody is let in before they have come."""
    verifier = AssertionVerifier("auth", {"netra": KEY})
    asked = []
    status = 503

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(verifier.verify(request.headers["Vedette-Assertion"]).subject)
        return httpx.Response(status, json=JWKS)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://auth")
    signer = AssertionSigner("netra", KEY)
    token = mint(NETRA, rsa_key(), KEY_ID)
    async with open_body_tokens("netra", ISSUER, http, signer, scratch_database) as tokens:
        with pytest.raises(KeysAway):
            await tokens.find_caller(token, now=NOW)

    status = 200
    async with open_body_tokens("netra", ISSUER, http, signer, scratch_database) as tokens:
        caller = await tokens.find_caller(token, now=NOW)

    assert caller.subject == NETRA.subject
    assert set(asked) == {"netra"}


async def test_a_devices_token_is_taken_where_it_is_asked_for() -> None:
    tokens = await body_tokens()
    device = replace(claims_of(TokenType.DEVICE), audience="netra", kind="device")
    claims = await tokens.verify(mint(device, rsa_key(), KEY_ID), TokenType.DEVICE, now=NOW)

    assert (claims.kind, claims.subject) == ("device", device.subject)


async def test_what_verified_once_is_asked_again_while_it_is_used() -> None:
    """A connection that stays open ends with its token, and with a revocation."""
    revocations = StubRevocations()
    tokens = await body_tokens(revocations)
    claims = await tokens.verify(mint(NETRA, rsa_key(), KEY_ID), TokenType.LEGACY, now=NOW)
    fresh = tokens.refusal(claims, now=NOW)
    over = tokens.refusal(claims, now=claims.expires_at)
    revocations.verdict = Refusal.REVOKED

    assert (fresh, over) == (None, Refusal.EXPIRED)
    assert tokens.refusal(claims, now=NOW) is Refusal.REVOKED
