"""What a token says, and how one is signed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jose import jwk, jwt

from shared.assertions import Kind

ALGORITHM: Final = "RS256"
MAX_TOKEN_CHARACTERS: Final = 8192
MIN_RSA_BITS: Final = 2048
#: Integers above this are not instants (and JavaScript could not tell them apart).
MAX_INSTANT: Final = 2**53 - 1

is_key_id = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


class TokenType(StrEnum):
    """What a token may be used for, as its header's `typ` states; never interchangeable."""

    ACCESS = "at+jwt"
    REFRESH = "rt+jwt"
    LEGACY = "legacy+jwt"
    DEVICE = "device+jwt"


_DAY_S: Final = 86_400

#: The longest life a token of each type may claim; a signature does not make a longer one good.
MAX_LIFETIME_S: Final[Mapping[TokenType, int]] = {
    TokenType.ACCESS: 15 * 60,
    TokenType.REFRESH: 7 * _DAY_S,
    TokenType.LEGACY: 30 * _DAY_S,
    TokenType.DEVICE: 30 * _DAY_S,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; instants are whole seconds since 1970, UTC."""

    type: TokenType
    issuer: str
    subject: str
    audience: str
    issued_at: int
    expires_at: int
    token_id: str
    kind: Kind
    scopes: frozenset[str]
    username: str
    roles: tuple[str, ...]
    session_id: str | None
    key_id: str = ""
    """Which key signed it; empty on claims that are about to be minted."""


def mint(claims: Claims, private_key: RSAPrivateKey, key_id: str) -> str:
    """Sign `claims`; the same claims under the same key give the same token, byte for byte.

    Raises:
        ValueError: the claims live longer than their type may, or the key is too weak.
    """
    if private_key.key_size < MIN_RSA_BITS or not is_key_id(key_id):
        raise ValueError("Tokens are signed with RSA keys of at least 2048 bits that have an id.")
    if not 0 < claims.expires_at - claims.issued_at <= MAX_LIFETIME_S[claims.type]:
        raise ValueError(f"A token of type {claims.type} cannot live that long.")
    payload: dict[str, Any] = {
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.audience,
        "iat": claims.issued_at,
        "exp": claims.expires_at,
        "jti": claims.token_id,
        "kind": claims.kind,
        "scope": " ".join(sorted(claims.scopes)),
        "username": claims.username,
        "roles": list(claims.roles),
    }
    if claims.session_id is not None:
        payload["sid"] = claims.session_id
    token: str = jwt.encode(
        payload,
        jwk.construct(private_key, ALGORITHM),
        algorithm=ALGORITHM,
        headers={"kid": key_id, "typ": claims.type.value},
    )
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ValueError("The claims do not fit into a token.")
    return token
