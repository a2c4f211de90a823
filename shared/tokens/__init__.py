"""Tokens: which ones the platform mints, and the strict door that lets them in."""

from shared.tokens.claims import (
    ALGORITHM,
    MAX_LIFETIME_S,
    MAX_TOKEN_CHARACTERS,
    Claims,
    TokenType,
    mint,
)
from shared.tokens.door import CLOCK_SKEW_S, TokenDoor, TokenRefused
from shared.tokens.key_set import MAX_JWKS_KEYS, KeySet, KeySetRefused, public_jwk

__all__ = [
    "ALGORITHM",
    "CLOCK_SKEW_S",
    "MAX_JWKS_KEYS",
    "MAX_LIFETIME_S",
    "MAX_TOKEN_CHARACTERS",
    "Claims",
    "KeySet",
    "KeySetRefused",
    "TokenDoor",
    "TokenRefused",
    "TokenType",
    "mint",
    "public_jwk",
]
