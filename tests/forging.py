"""Tokens as an attacker, or a broken issuer, would make them."""

import base64
import json
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.tokens import Claims, KeySet, TokenDoor, TokenType, public_jwk

NOW = 1_800_000_000
KEY_ID = "key-1"
ISSUER = "vedette"
AUDIENCE = "vedette"

CLAIMS = Claims(
    type=TokenType.ACCESS,
    issuer=ISSUER,
    subject="01900000-0000-7000-8000-000000000042",
    audience=AUDIENCE,
    issued_at=NOW,
    expires_at=NOW + 900,
    token_id="0123456789abcdef",
    kind="user",
    scopes=frozenset({"chexray:read", "chexray:write"}),
    username="grant",
    roles=("clinician",),
    session_id="01900000-0000-7000-8000-000000000043",
)

HEADER: dict[str, Any] = {"alg": "RS256", "kid": KEY_ID, "typ": "at+jwt"}
PAYLOAD: dict[str, Any] = {
    "iss": ISSUER,
    "sub": CLAIMS.subject,
    "aud": AUDIENCE,
    "iat": NOW,
    "exp": NOW + 900,
    "jti": CLAIMS.token_id,
    "kind": "user",
    "scope": "chexray:read chexray:write",
    "username": "grant",
    "roles": ["clinician"],
    "sid": CLAIMS.session_id,
}


@cache
def rsa_key(name: str = "good", bits: int = 2048) -> RSAPrivateKey:
    """A private key that stays the same for the whole run."""
    return generate_private_key(public_exponent=65_537, key_size=bits)


def good_door() -> TokenDoor:
    """A door that knows one key."""
    keys = KeySet.from_jwks({"keys": [public_jwk(rsa_key().public_key(), KEY_ID)]})
    return TokenDoor(ISSUER, keys)


def encode(part: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def sign_text(header: str | bytes, payload: str | bytes, key: RSAPrivateKey | None = None) -> str:
    """A token with exactly these texts, signed as RS256 whatever they say."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, payload)]
    signed = ".".join(encode(part) for part in parts)
    signature = (key or rsa_key()).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{encode(signature)}"


def forge(
    *,
    header: dict[str, Any] | None = None,
    payload: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    key: RSAPrivateKey | None = None,
) -> str:
    """A well-signed token in which some header fields or claims are other than they should be."""
    claims = {name: value for name, value in PAYLOAD.items() if name not in without}
    return sign_text(
        json.dumps({**HEADER, **(header or {})}), json.dumps({**claims, **(payload or {})}), key
    )


def claims_of(type_: TokenType) -> Claims:
    """Good claims of any type, for the audience that the type is meant for."""
    audiences = {
        TokenType.ACCESS: "vedette",
        TokenType.REFRESH: "auth",
        TokenType.LEGACY: "chexray",
        TokenType.DEVICE: "fleet",
    }
    return replace(CLAIMS, type=type_, audience=audiences[type_])
