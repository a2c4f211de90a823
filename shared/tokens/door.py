"""The strict door around python-jose: which tokens are let in.

python-jose by itself accepts tokens without expiry or audience, altered base64 spellings,
unknown critical headers and more. Whatever reaches `TokenDoor.verify` is therefore checked
for size, alphabet, canonical encoding, header fields and claim types here; jose only
checks the signature, with the one key that the header names.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn, get_args

from jose import jws

from shared.assertions import Kind, Refusal
from shared.tokens.claims import (
    ALGORITHM,
    MAX_INSTANT,
    MAX_LIFETIME_S,
    MAX_TOKEN_CHARACTERS,
    Claims,
    TokenType,
    is_key_id,
)
from shared.tokens.key_set import KeySet

MAX_HEADER_CHARACTERS: Final = 512
#: How far another machine's clock may be ahead of ours. Expiry gets no such grace.
CLOCK_SKEW_S: Final = 60

_KINDS: Final = frozenset(get_args(Kind))
_HEADER_FIELDS: Final = frozenset({"alg", "kid", "typ"})
_is_compact_token = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch
_is_identifier = re.compile(r"[!-~]{1,128}").fullmatch
_is_scope = re.compile(r"(?:[a-z0-9_:.*-]{1,64}(?: [a-z0-9_:.*-]{1,64}){0,63})?").fullmatch
_is_role = re.compile(r"[a-z0-9_-]{1,64}").fullmatch


class TokenRefused(Exception):
    """A token that is not let in, and the reason a client may be told."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class TokenDoor:
    """Lets in what `issuer` signed for us, and refuses everything else in the same way."""

    def __init__(self, issuer: str, keys: KeySet) -> None:
        self.issuer = issuer
        self.keys = keys

    def peek_type(self, token: str) -> TokenType:
        """The type that the header states; nothing is verified yet.

        Raises:
            TokenRefused: the token has not the form of one of ours.
        """
        return _read_header(token)[1]

    def peek_key_id(self, token: str) -> str:
        """The id of the key that the header names, to fetch the key set when it is a new one.

        Raises:
            TokenRefused: the token has not the form of one of ours.
        """
        return _read_header(token)[0]

    def verify(self, token: str, *, type: TokenType, audience: str, now: float) -> Claims:  # noqa: A002  # the claim's own name
        """Check one token completely.

        Args:
            token: the compact form, three base64url parts.
            type: the only `typ` that is let in.
            audience: must be the token's `aud`, or one of them.
            now: seconds since 1970, UTC.

        Raises:
            TokenRefused: `expired` when only its time is over, else `invalid`.
        """
        try:
            return self._verify(token, type, audience, now)
        except TokenRefused:
            raise
        # Whatever a hostile token provokes, in jose or here, is one more way to be invalid:
        # an escaping exception would be a 500 that anybody can cause.
        except Exception as error:
            raise TokenRefused(Refusal.INVALID) from error

    def _verify(self, token: str, expected: TokenType, audience: str, now: float) -> Claims:
        key_id, type_ = _read_header(token)
        if type_ is not expected:
            _refuse()
        key = self.keys.find(key_id, now)
        if key is None:
            _refuse()
        _, payload, signature = token.split(".")
        _decode_canonical(payload)
        _decode_canonical(signature)
        claims = _read_object(jws.verify(token, key, algorithms=[ALGORITHM]))
        return self._read_claims(claims, type_, key_id, audience, now)

    def _read_claims(
        self, claims: Mapping[str, Any], type_: TokenType, key_id: str, audience: str, now: float
    ) -> Claims:
        if claims.get("iss") != self.issuer or not _is_for(claims.get("aud"), audience):
            _refuse()
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        not_before = _instant(claims, "nbf") if "nbf" in claims else issued_at
        if max(issued_at, not_before) > now + CLOCK_SKEW_S:
            _refuse()
        if not 0 < expires_at - issued_at <= MAX_LIFETIME_S[type_]:
            _refuse()
        roles = claims.get("roles")
        if not isinstance(roles, list) or not all(_matches(_is_role, role) for role in roles):
            _refuse()
        scope, username = claims.get("scope"), claims.get("username")
        if not _matches(_is_scope, scope) or not isinstance(username, str):
            _refuse()
        kind: Kind = claims["kind"]
        if kind not in _KINDS:
            _refuse()
        session_id = _identifier(claims, "sid") if "sid" in claims else None
        read = Claims(
            type=type_,
            issuer=self.issuer,
            subject=_identifier(claims, "sub"),
            audience=audience,
            issued_at=issued_at,
            expires_at=expires_at,
            token_id=_identifier(claims, "jti"),
            kind=kind,
            scopes=frozenset(str(scope).split()),
            username=username,
            roles=tuple(roles),
            session_id=session_id,
            key_id=key_id,
        )
        # Last, so that a token that is wrong in another way is never called merely expired.
        if expires_at <= now:
            raise TokenRefused(Refusal.EXPIRED)
        return read


def _refuse() -> NoReturn:
    raise TokenRefused(Refusal.INVALID)


def _read_header(token: str) -> tuple[str, TokenType]:
    """The key id and type, from a header that holds `alg`, `kid`, `typ` and nothing else."""
    if len(token) > MAX_TOKEN_CHARACTERS or not _is_compact_token(token):
        _refuse()
    segment = token[: token.index(".")]
    if len(segment) > MAX_HEADER_CHARACTERS:
        _refuse()
    try:
        header = _read_object(_decode_canonical(segment))
        key_id = header.get("kid")
        if header.keys() != _HEADER_FIELDS or header["alg"] != ALGORITHM:
            _refuse()
        if not _matches(is_key_id, key_id):
            _refuse()
        return str(key_id), TokenType(header["typ"])
    except (ValueError, TypeError, RecursionError) as error:
        raise TokenRefused(Refusal.INVALID) from error


def _decode_canonical(segment: str) -> bytes:
    """Decode base64url, refusing every spelling but the one that encoding gives.

    Otherwise the spare bits of the last character would give one token several spellings.
    """
    decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode():
        _refuse()
    return decoded


def _read_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object in which no name occurs twice and no number is NaN or infinite."""
    parsed = _parse(text.decode())
    if not isinstance(parsed, dict):
        _refuse()
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _refuse()
    return members


def _refuse_constant(_: str) -> NoReturn:
    _refuse()


_parse = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant).decode


def _matches(pattern: Any, value: object) -> bool:
    return isinstance(value, str) and pattern(value) is not None


def _is_for(audiences: object, ours: str) -> bool:
    """Whether `aud` names us; a list may name others beside us (RFC 7519, section 4.1.3)."""
    if isinstance(audiences, list):
        return all(isinstance(name, str) for name in audiences) and ours in audiences
    return isinstance(audiences, str) and audiences == ours


def _instant(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # bool is a subclass of int, and `true` is no instant.
    if type(value) is not int or not 0 <= value <= MAX_INSTANT:
        _refuse()
    return value


def _identifier(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not _matches(_is_identifier, value):
        _refuse()
    return str(value)
