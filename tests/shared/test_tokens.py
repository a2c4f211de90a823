"""The token door lets in what auth mints; attacks on it are in tests/security."""

from dataclasses import replace

import pytest

from shared.assertions import Refusal
from shared.tokens import (
    MAX_LIFETIME_S,
    KeySet,
    KeySetRefused,
    TokenDoor,
    TokenRefused,
    TokenType,
    mint,
    public_jwk,
)
from tests.forging import CLAIMS, KEY_ID, NOW, claims_of, forge, good_door, rsa_key


@pytest.mark.parametrize("type_", list(TokenType))
def test_what_is_minted_is_let_in_and_says_the_same(type_: TokenType) -> None:
    claims = claims_of(type_)
    token = mint(claims, rsa_key(), KEY_ID)

    verified = good_door().verify(token, type=type_, audience=claims.audience, now=NOW)

    assert verified == replace(claims, key_id=KEY_ID)


def test_a_token_without_a_session_is_let_in() -> None:
    claims = replace(CLAIMS, session_id=None)
    token = mint(claims, rsa_key(), KEY_ID)

    verified = good_door().verify(token, type=TokenType.ACCESS, audience="vedette", now=NOW)

    assert verified.session_id is None


def test_the_same_claims_give_the_same_token() -> None:
    """Auth hands out the same successor again without having stored it."""
    assert mint(CLAIMS, rsa_key(), KEY_ID) == mint(CLAIMS, rsa_key(), KEY_ID)


def test_a_user_name_in_any_script_survives() -> None:
    token = mint(replace(CLAIMS, username="грант.医生"), rsa_key(), KEY_ID)

    verified = good_door().verify(token, type=TokenType.ACCESS, audience="vedette", now=NOW)

    assert verified.username == "грант.医生"


def test_the_header_can_be_read_before_anything_is_verified() -> None:
    token = mint(CLAIMS, rsa_key("unknown"), "another-key")

    assert good_door().peek_type(token) is TokenType.ACCESS
    assert good_door().peek_key_id(token) == "another-key"


def test_an_expired_token_is_called_expired() -> None:
    with pytest.raises(TokenRefused) as refused:
        good_door().verify(forge(), type=TokenType.ACCESS, audience="vedette", now=NOW + 900)

    assert refused.value.reason is Refusal.EXPIRED


def test_an_expired_token_for_somebody_else_is_called_invalid() -> None:
    """Only who may have the token learns that its time is over."""
    with pytest.raises(TokenRefused) as refused:
        good_door().verify(forge(), type=TokenType.ACCESS, audience="fleet", now=NOW + 900)

    assert refused.value.reason is Refusal.INVALID


def test_a_refusal_does_not_repeat_the_token() -> None:
    token = forge(payload={"aud": "other"})

    with pytest.raises(TokenRefused) as refused:
        good_door().verify(token, type=TokenType.ACCESS, audience="vedette", now=NOW)

    assert token not in str(refused.value)


@pytest.mark.parametrize("type_", list(TokenType))
def test_no_token_is_minted_for_longer_than_its_type_may_live(type_: TokenType) -> None:
    claims = claims_of(type_)
    too_long = replace(claims, expires_at=claims.issued_at + MAX_LIFETIME_S[type_] + 1)

    with pytest.raises(ValueError, match="live that long"):
        mint(too_long, rsa_key(), KEY_ID)


def test_no_token_is_minted_with_a_weak_key() -> None:
    with pytest.raises(ValueError, match="2048"):
        mint(CLAIMS, rsa_key("weak", 1024), KEY_ID)


def test_no_token_is_minted_that_the_door_would_find_too_long() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        mint(replace(CLAIMS, username="x" * 8000), rsa_key(), KEY_ID)


def test_a_key_set_is_read_from_what_auth_publishes() -> None:
    keys = KeySet.from_jwks(
        {
            "keys": [
                public_jwk(rsa_key("a").public_key(), "a"),
                public_jwk(rsa_key("b").public_key(), "b", expires_at=NOW + 10),
            ]
        }
    )

    assert keys.key_ids == {"a", "b"}


def test_a_key_is_not_used_after_its_end() -> None:
    """A verifier that cannot reach auth drops a retired key at the right second all the same."""
    keys = KeySet.from_jwks(
        {"keys": [public_jwk(rsa_key().public_key(), KEY_ID, expires_at=NOW + 10)]}
    )
    door = TokenDoor("vedette", keys)

    assert door.verify(forge(), type=TokenType.ACCESS, audience="vedette", now=NOW + 9)
    with pytest.raises(TokenRefused):
        door.verify(forge(), type=TokenType.ACCESS, audience="vedette", now=NOW + 10)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": []},
        {"keys": "none"},
        {"keys": [None]},
        {"keys": [{"kty": "RSA", "kid": "a"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "kid": "../a"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "use": "enc"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "alg": "RS512"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "kty": "oct"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "d": "AQAB"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "exp": "soon"}]},
        {"keys": [{**public_jwk(rsa_key().public_key(), "a"), "n": "not base64!"}]},
        {"keys": [public_jwk(rsa_key().public_key(), "a")] * 2},
        {"keys": [public_jwk(rsa_key().public_key(), f"k{n}") for n in range(33)]},
    ],
)
def test_a_key_set_that_auth_would_not_publish_is_refused(document: object) -> None:
    with pytest.raises(KeySetRefused):
        KeySet.from_jwks(document)
