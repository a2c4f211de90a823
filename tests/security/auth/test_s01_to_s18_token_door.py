"""Attacks 1 to 18 on the token door: each is refused, and none of them is a bug (500)."""

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import string
import sys
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwe, jwk, jwt

from shared.keys import WeakKey, ensure_keys, read_key
from shared.tokens import (
    KeySet,
    KeySetRefused,
    TokenDoor,
    TokenRefused,
    TokenType,
    mint,
    public_jwk,
)
from tests.forging import (
    CLAIMS,
    HEADER,
    KEY_ID,
    NOW,
    PAYLOAD,
    claims_of,
    encode,
    forge,
    good_door,
    rsa_key,
    sign_text,
)

DOOR = good_door()
GOOD = mint(CLAIMS, rsa_key(), KEY_ID)


_watching: list[list[str]] = []


def _note_socket(event: str, _: tuple[object, ...]) -> None:
    if event.startswith("socket."):
        for opened in _watching:
            opened.append(event)


sys.addaudithook(_note_socket)


@contextlib.contextmanager
def watched_sockets() -> Iterator[list[str]]:
    """Every socket operation of this process, as the interpreter's own audit reports it."""
    opened: list[str] = []
    _watching.append(opened)
    try:
        yield opened
    finally:
        _watching.remove(opened)


def is_let_in(token: str, *, now: float = NOW, door: TokenDoor = DOOR) -> bool:
    """Whether the door lets a token in; whatever it raises but a refusal fails the test."""
    try:
        door.verify(token, type=TokenType.ACCESS, audience="vedette", now=now)
    except TokenRefused:
        return False
    return True


def test_the_token_that_the_attacks_start_from_is_good() -> None:
    assert is_let_in(GOOD)
    assert is_let_in(forge())


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, True, ["RS256"]])
def test_s01_no_algorithm_is_refused(algorithm: object) -> None:
    header, payload, signature = forge(header={"alg": algorithm}).split(".")

    assert not is_let_in(f"{header}.{payload}.")
    assert not is_let_in(f"{header}.{payload}")
    assert not is_let_in(f"{header}.{payload}.{signature}")


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "ssh", "pem-pkcs1", "modulus"])
def test_s02_hs256_with_the_public_key_as_secret_is_refused(form: str) -> None:
    public = rsa_key().public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "pem-pkcs1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(public_jwk(public, KEY_ID)).encode(),
        "ssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "modulus": public_jwk(public, KEY_ID)["n"].encode(),
    }[form]
    for algorithm in ("HS256", "RS256"):
        header = encode(json.dumps({**HEADER, "alg": algorithm}).encode())
        signed = f"{header}.{encode(json.dumps(PAYLOAD).encode())}"
        signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()

        assert not is_let_in(f"{signed}.{encode(signature)}")


@pytest.mark.parametrize(
    "algorithm", ["ES256", "RS384", "RS512", "PS256", "HS256", "EdDSA", "rs256"]
)
def test_s03_every_algorithm_but_the_issuers_is_refused(algorithm: str) -> None:
    assert not is_let_in(forge(header={"alg": algorithm}))


def test_s03_a_real_es256_token_is_refused() -> None:
    key = jwk.construct(ec.generate_private_key(ec.SECP256R1()), "ES256")
    headers = {"kid": KEY_ID, "typ": "at+jwt"}

    assert not is_let_in(jwt.encode(dict(PAYLOAD), key, algorithm="ES256", headers=headers))


def test_s03_a_real_rs512_token_is_refused() -> None:
    key = jwk.construct(rsa_key(), "RS512")
    headers = {"kid": KEY_ID, "typ": "at+jwt"}

    assert not is_let_in(jwt.encode(dict(PAYLOAD), key, algorithm="RS512", headers=headers))


@pytest.mark.parametrize(
    "key_id",
    [
        "unknown", "../../dev/null", "' OR 1=1 --", "k" * 10_000, "key-1\x00", "key-1 ",
        "https://evil.example/jwks.json", "", None, 1, ["key-1"], {"kid": "key-1"}, "kéy",
    ],
)  # fmt: skip
def test_s04_a_key_id_that_is_not_in_the_set_is_refused(key_id: object) -> None:
    assert not is_let_in(forge(header={"kid": key_id}))


def test_s04_a_key_id_is_not_tried_with_other_keys() -> None:
    """By itself jose tries every key of a set; a token is good under the key it names or never."""
    keys = [public_jwk(rsa_key(name).public_key(), name) for name in ("one", "two")]
    door = TokenDoor("vedette", KeySet.from_jwks({"keys": keys}))

    assert is_let_in(forge(header={"kid": "one"}, key=rsa_key("one")), door=door)
    assert not is_let_in(forge(header={"kid": "two"}, key=rsa_key("one")), door=door)


@pytest.mark.parametrize("field", ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"])
def test_s05_a_key_that_the_token_brings_along_is_refused(field: str) -> None:
    attacker = rsa_key("attacker")
    brought: dict[str, Any] = {
        "jwk": public_jwk(attacker.public_key(), KEY_ID),
        "x5c": ["MIIB"],
    }
    value = brought.get(field, "https://evil.example/keys")

    with watched_sockets() as opened:
        assert not is_let_in(forge(header={field: value}, key=attacker))
        assert not is_let_in(forge(header={field: value}))

    assert opened == []


@pytest.mark.parametrize(
    "fields",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"anything": 1},
    ],
)
def test_s06_a_header_field_beyond_the_three_is_refused(fields: dict[str, object]) -> None:
    assert not is_let_in(forge(header=fields))


@pytest.mark.parametrize("field", ["alg", "kid", "typ"])
def test_s06_a_header_without_one_of_the_three_is_refused(field: str) -> None:
    header = {name: value for name, value in HEADER.items() if name != field}

    assert not is_let_in(sign_text(json.dumps(header), json.dumps(PAYLOAD)))


HOSTILE_INSTANTS = [
    "null", '"1800000900"', "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "true", "false",
    "1" + "0" * 30, "-1", "1800000900.5", "1.8e9", "[1800000900]", "{}", '""', "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", HOSTILE_INSTANTS)
def test_s07_an_instant_that_is_no_sane_integer_is_refused(name: str, value: str) -> None:
    payload = json.dumps({**PAYLOAD, name: "HERE"}).replace('"HERE"', value)

    assert not is_let_in(sign_text(json.dumps(HEADER), payload))


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_s07_a_missing_instant_is_refused(name: str) -> None:
    assert not is_let_in(forge(without=(name,)))


@pytest.mark.parametrize("exp", [NOW + 901, NOW + 86_400, NOW, NOW - 1, 2**53 - 1])
def test_s07_a_life_longer_than_the_type_may_have_or_none_is_refused(exp: int) -> None:
    assert not is_let_in(forge(payload={"exp": exp}))


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_s08_a_token_from_the_future_is_refused(name: str) -> None:
    assert is_let_in(forge(payload={name: NOW + 60}))
    assert not is_let_in(forge(payload={name: NOW + 61}))


@pytest.mark.parametrize(
    "audience",
    [
        "other", "vedett", "vedette2", "vedette ", "Vedette", "", None, [], ["other"], [None],
        ["vedette", 1], {"vedette": 1}, 7, True, "vedette,other", "other vedette",
    ],
)  # fmt: skip
def test_s09_a_token_for_somebody_else_is_refused(audience: object) -> None:
    assert not is_let_in(forge(payload={"aud": audience}))


def test_s09_a_token_for_nobody_is_refused() -> None:
    assert not is_let_in(forge(without=("aud",)))


def test_s09_a_list_that_holds_our_name_is_let_in() -> None:
    assert is_let_in(forge(payload={"aud": ["other", "vedette"]}))


@pytest.mark.parametrize(
    "issuer", ["other", "vedette/", "Vedette", "VEDETTE", "vedette ", "", None, ["vedette"], 1]
)
def test_s10_another_issuer_is_refused(issuer: object) -> None:
    assert not is_let_in(forge(payload={"iss": issuer}))


def test_s10_no_issuer_is_refused() -> None:
    assert not is_let_in(forge(without=("iss",)))


@pytest.mark.parametrize("wanted", list(TokenType))
@pytest.mark.parametrize("shown", list(TokenType))
def test_s11_a_token_is_let_in_as_its_own_type_alone(shown: TokenType, wanted: TokenType) -> None:
    """The full matrix, also when the audience would fit."""
    claims = claims_of(shown)
    token = mint(claims, rsa_key(), KEY_ID)
    results = []
    for audience in ("vedette", "auth", "chexray", "netra", "fleet"):
        try:
            DOOR.verify(token, type=wanted, audience=audience, now=NOW)
        except TokenRefused:
            continue
        results.append(audience)

    assert results == ([claims.audience] if shown is wanted else [])


@pytest.mark.parametrize(
    "typ",
    ["JWT", "jwt", "refresh+jwt", "AT+JWT", "at+jwt ", "application/at+jwt", "id+jwt", "", None, 1,
     "share+jwt", "ws+jwt", ["at+jwt"]],
)  # fmt: skip
def test_s11_any_other_type_is_refused(typ: object) -> None:
    assert not is_let_in(forge(header={"typ": typ}))


@pytest.mark.parametrize("name", sorted(PAYLOAD))
def test_s12_a_claim_that_occurs_twice_is_refused(name: str) -> None:
    text = json.dumps(PAYLOAD)
    doubled = f'{text[:-1]}, "{name}": {json.dumps(PAYLOAD[name])}}}'

    assert not is_let_in(sign_text(json.dumps(HEADER), doubled))


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_s12_a_header_field_that_occurs_twice_is_refused(name: str) -> None:
    text = json.dumps(HEADER)
    doubled = f'{text[:-1]}, "{name}": {json.dumps(HEADER[name])}}}'

    assert not is_let_in(sign_text(doubled, json.dumps(PAYLOAD)))


@pytest.mark.parametrize(
    "token",
    [
        "A" * 5_000_000,
        f"{GOOD}{'A' * 5_000_000}",
        f"{'A' * 2_500_000}.{'B' * 2_500_000}.C",
        "." * 5_000_000,
        encode(b"[" * 200_000) + ".e30.AA",
        encode(b'{"a":' * 200_000) + ".e30.AA",
        encode(b'{"a":' * 1_000) + ".e30.AA",
    ],
    ids=["5MB", "good+5MB", "5MB in parts", "dots", "nested lists", "nested objects", "just below"],
)
def test_s12_a_huge_or_deep_token_costs_nothing(token: str) -> None:
    tracemalloc.start()
    started_s = time.perf_counter()
    assert not is_let_in(token)
    elapsed_s = time.perf_counter() - started_s
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert elapsed_s < 0.05
    assert peak < 1_000_000


@pytest.mark.parametrize("depth", [10, 500, 1_000, 1_400])
def test_s12_deep_nesting_under_a_good_signature_is_refused(depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth

    assert not is_let_in(sign_text(json.dumps(HEADER), nested))


def test_s13_the_signatures_spare_bits_are_no_second_spelling() -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    spellings = [GOOD[:-1] + last for last in alphabet]
    decoded = base64.urlsafe_b64decode(GOOD.split(".")[2] + "==")
    same = [
        spelling
        for spelling in spellings
        if base64.urlsafe_b64decode(spelling.split(".")[2] + "==") == decoded
    ]

    assert len(same) > 1
    assert [spelling for spelling in same if is_let_in(spelling)] == [GOOD]


@pytest.mark.parametrize(
    "spelling",
    [
        f"{GOOD}=", f"{GOOD}==", f" {GOOD}", f"{GOOD} ", f"{GOOD}\n", f"\ufeff{GOOD}", f"{GOOD}.",
        f".{GOOD}", f"{GOOD}.AA", GOOD.replace(".", "=.", 1), GOOD.replace(".", "..", 1),
        f"Bearer {GOOD}", GOOD.replace(".", "\u2024"),
        GOOD.replace(".", " . "), "", ".", "..", "a.b.c",
    ],
)  # fmt: skip
def test_s13_no_other_spelling_of_a_token_is_let_in(spelling: str) -> None:
    assert not is_let_in(spelling)


@pytest.mark.parametrize(("ours", "standard"), [("-", "+"), ("_", "/")])
def test_s13_the_standard_alphabet_is_refused(ours: str, standard: str) -> None:
    tokens = (forge(payload={"jti": f"token-{n}"}) for n in itertools.count())
    token = next(token for token in tokens if ours in token)

    assert is_let_in(token)
    assert not is_let_in(token.replace(ours, standard))


@pytest.mark.parametrize("bits", [1024, 1536, 2047])
def test_s14_a_key_set_with_a_short_key_is_refused(bits: int) -> None:
    short = rsa_key(f"short-{bits}", bits)

    with pytest.raises(KeySetRefused):
        KeySet.from_jwks({"keys": [public_jwk(short.public_key(), KEY_ID)]})


@pytest.mark.parametrize("kty", ["oct", "EC", "OKP", "RSA ", None])
def test_s14_a_key_set_with_another_kind_of_key_is_refused(kty: object) -> None:
    key = {"kty": kty, "k": encode(b"secret"), "kid": KEY_ID, "alg": "HS256"}

    with pytest.raises(KeySetRefused):
        KeySet.from_jwks({"keys": [key]})


def test_s14_a_small_exponent_is_refused() -> None:
    weak = {**public_jwk(rsa_key().public_key(), KEY_ID), "e": "Aw"}

    with pytest.raises(KeySetRefused):
        KeySet.from_jwks({"keys": [weak]})


@pytest.mark.parametrize("text", ["", "00", "secret", "ab" * 31])
def test_s14_a_short_shared_key_stops_the_start(text: str, tmp_path: Any) -> None:
    ensure_keys(tmp_path)
    path = tmp_path / "assertion-auth"
    path.chmod(0o600)
    path.write_text(text)

    with pytest.raises(WeakKey):
        read_key(tmp_path, "assertion-auth")


def test_s15_an_encrypted_token_is_refused() -> None:
    encrypted = jwe.encrypt(
        json.dumps(PAYLOAD),
        rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        algorithm="RSA-OAEP",
        encryption="A256GCM",
    ).decode()

    assert encrypted.count(".") == 4
    assert not is_let_in(encrypted)


@given(position=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_s16_no_token_with_one_flipped_bit_is_let_in(position: int, bit: int) -> None:
    flipped = chr(ord(GOOD[position]) ^ 1 << bit)

    assert not is_let_in(GOOD[:position] + flipped + GOOD[position + 1 :])


@given(position=st.integers(0, len(GOOD) - 1), other=st.characters(codec="utf-8"))
@settings(max_examples=300, deadline=None)
def test_s16_no_token_with_one_other_character_is_let_in(position: int, other: str) -> None:
    changed = GOOD[:position] + other + GOOD[position + 1 :]

    assert is_let_in(changed) == (changed == GOOD)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_s16_no_text_is_let_in_by_chance(text: str) -> None:
    assert not is_let_in(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*PAYLOAD, "nbf", "other"]), JSON))
@settings(max_examples=300, deadline=None)
def test_s16_no_wrong_claims_raise_anything_but_a_refusal(changes: dict[str, Any]) -> None:
    """Even who holds the key cannot cause a 500; what is let in says what it says."""
    is_let_in(forge(payload=changes))


@given(JSON, JSON)
@settings(max_examples=200, deadline=None)
def test_s16_no_header_and_payload_raise_anything_but_a_refusal(header: Any, payload: Any) -> None:
    assert not is_let_in(sign_text(json.dumps(header), json.dumps(payload)))


def test_s17_a_retired_key_is_accepted_to_its_end_and_not_a_second_longer() -> None:
    retired = public_jwk(rsa_key("old").public_key(), "old", expires_at=NOW + 100)
    active = public_jwk(rsa_key("new").public_key(), "new")
    door = TokenDoor("vedette", KeySet.from_jwks({"keys": [retired, active]}))
    token = forge(header={"kid": "old"}, key=rsa_key("old"))

    assert is_let_in(token, door=door, now=NOW + 99)
    assert not is_let_in(token, door=door, now=NOW + 101)
    assert is_let_in(forge(header={"kid": "new"}, key=rsa_key("new")), door=door, now=NOW + 101)


def test_s18_a_clock_may_be_59_seconds_behind_the_issuers_and_not_61() -> None:
    assert is_let_in(GOOD, now=NOW - 59)
    assert not is_let_in(GOOD, now=NOW - 61)


def test_s18_expiry_gets_no_grace() -> None:
    """A clock that is ahead shortens a life, none that is behind prolongs what we say is over."""
    assert is_let_in(GOOD, now=NOW + 899)
    assert not is_let_in(GOOD, now=NOW + 900)
    assert not is_let_in(GOOD, now=NOW + 959)
