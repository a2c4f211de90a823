"""The public keys that tokens are verified with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jose import jwk
from jose.backends.base import Key

from shared.tokens.claims import ALGORITHM, MAX_INSTANT, MIN_RSA_BITS, is_key_id

MIN_RSA_EXPONENT: Final = 65_537
MAX_JWKS_KEYS: Final = 32


class KeySetRefused(ValueError):
    """A set of public keys that nobody should verify with."""


@dataclass(frozen=True, slots=True)
class _PublicKey:
    key: Key
    expires_at: float


class KeySet:
    """Public keys by id, checked and parsed once."""

    def __init__(self, keys: Mapping[str, _PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def from_jwks(cls, document: object) -> "KeySet":
        """Read a JSON Web Key Set (RFC 7517).

        A key's `exp`, where given, ends its use: a verifier that works from its last good
        set while auth is away still stops trusting a retired key at the right second.

        Raises:
            KeySetRefused: one of the keys is not a public RS256 key of at least 2048 bits.
        """
        entries = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_JWKS_KEYS:
            raise KeySetRefused(f"A key set holds 1 to {MAX_JWKS_KEYS} keys.")
        keys: dict[str, _PublicKey] = {}
        for entry in entries:
            key_id, key = _read_jwk(entry)
            if key_id in keys:
                raise KeySetRefused("Two keys share one key id.")
            keys[key_id] = key
        return cls(keys)

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys in the set."""
        return frozenset(self._keys)

    def find(self, key_id: str, now: float) -> Key | None:
        """The key called `key_id`, unless it is unknown or its time is over."""
        found = self._keys.get(key_id)
        return found.key if found is not None and now < found.expires_at else None


def public_jwk(
    public_key: RSAPublicKey, key_id: str, *, expires_at: int | None = None
) -> dict[str, Any]:
    """`public_key` as a member of a key set, `expires_at` when its use ends."""
    document: dict[str, Any] = {
        **jwk.construct(public_key, ALGORITHM).to_dict(),
        "kid": key_id,
        "use": "sig",
    }
    return document if expires_at is None else {**document, "exp": expires_at}


def _read_jwk(entry: object) -> tuple[str, _PublicKey]:
    if not isinstance(entry, Mapping):
        raise KeySetRefused("A key is not a JSON object.")
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not is_key_id(key_id):
        raise KeySetRefused("A key has no usable id.")
    if entry.get("kty") != "RSA" or entry.get("alg", ALGORITHM) != ALGORITHM:
        raise KeySetRefused("Only RSA keys for RS256 are used.")
    if entry.get("use", "sig") != "sig" or "d" in entry:
        raise KeySetRefused("A key is not a public key for signatures.")
    expires_at = entry.get("exp", MAX_INSTANT)
    if type(expires_at) is not int:
        raise KeySetRefused("A key's end is not an instant.")
    try:
        key = jwk.construct({"kty": "RSA", "n": entry["n"], "e": entry["e"]}, ALGORITHM)
        numbers = key.prepared_key.public_numbers()
    except Exception as error:
        raise KeySetRefused("A key cannot be read.") from error
    if key.prepared_key.key_size < MIN_RSA_BITS or numbers.e < MIN_RSA_EXPONENT:
        raise KeySetRefused(f"RSA keys need {MIN_RSA_BITS} bits and an exponent of 65537.")
    return key_id, _PublicKey(key, expires_at)
