"""SECURITY.md section 3 at the edge: tokens (1 to 18), logs (79), labels (80), closing (84)."""

import asyncio
import base64
import concurrent.futures
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.types import Receive, Scope, Send

from shared.assertions import Refusal
from shared.key_ring import UNKNOWN_KEY_PAUSE_S, KeyRing
from shared.problems import Unavailable
from shared.tokens import TokenType, public_jwk
from tests.gateway.support import (
    KEY_ID,
    Rig,
    StubService,
    access_token,
    answer,
    legacy_token,
    private_key,
    rig,
    status_of,
)
from tests.holding import eventually

STUDIES = "/api/v2/chexray/studies"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway before a service that remembers what it was asked."""
    with rig(tmp_path_factory.mktemp("keys"), rate_limit_scale=1000) as running:
        yield running


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _forge(header: dict[str, Any], token: str, signature: bytes | None = None) -> str:
    """`token` with another header, and with `signature` or its old one."""
    _, payload, old = token.split(".")
    return ".".join(
        (
            _encode(json.dumps(header).encode()),
            payload,
            old if signature is None else _encode(signature),
        )
    )


HEADER = {"alg": "RS256", "kid": KEY_ID, "typ": "at+jwt"}


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", ""])
def test_s01_an_unsigned_token_is_401(gateway: Rig, alg: str) -> None:
    token = _forge({**HEADER, "alg": alg}, access_token(), b"")

    assert gateway.get(STUDIES, token=token).status_code == 401
    assert gateway.get(STUDIES, token=token.rstrip(".")).status_code == 401


def test_s02_a_token_signed_with_the_public_key_as_a_secret_is_401(gateway: Rig) -> None:
    public = private_key().public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(public_jwk(public, KEY_ID)).encode(),
    ]
    for secret in secrets:
        unsigned = _forge({**HEADER, "alg": "HS256"}, access_token(), b"")
        signed = unsigned.rpartition(".")[0]
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()

        assert gateway.get(STUDIES, token=f"{signed}.{_encode(mac)}").status_code == 401


@pytest.mark.parametrize("alg", ["ES256", "PS256", "RS384", "EdDSA", ["RS256"]])
def test_s03_one_algorithm_is_let_in(gateway: Rig, alg: Any) -> None:
    assert (
        gateway.get(STUDIES, token=_forge({**HEADER, "alg": alg}, access_token())).status_code
        == 401
    )


def test_s04_a_thousand_unknown_keys_cause_one_question_to_auth(gateway: Rig) -> None:
    before, began_at = gateway.service.jwks_fetches, time.monotonic()
    kids = ["../../etc/passwd", "' OR 1=1 --", "x" * 10_000, "a\x00b", "https://evil.example/k"]
    kids += [f"unknown-{number}" for number in range(300)]

    def ask(kid: str) -> int:
        return gateway.get(
            STUDIES, token=_forge({**HEADER, "kid": kid}, access_token())
        ).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(ask, kids))

    # A 10 KB name makes a header that is refused before anybody reads a token.
    assert statuses <= {401, 431}
    # One question each 30 s, however slow this machine is.
    windows = 1 + int((time.monotonic() - began_at) / UNKNOWN_KEY_PAUSE_S)
    assert gateway.service.jwks_fetches - before <= windows


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_s05_a_key_inside_the_token_is_not_looked_at(gateway: Rig, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/keys"
        header = {
            **HEADER,
            name: public_jwk(private_key().public_key(), "k") if name == "jwk" else url,
        }

        assert gateway.get(STUDIES, token=_forge(header, access_token())).status_code == 401
        with pytest.raises(TimeoutError):
            canary.accept()


@pytest.mark.parametrize(
    "extra", [{"crit": ["x"]}, {"crit": ["b64"], "b64": False}, {"zip": "DEF"}]
)
def test_s06_a_header_that_changes_the_rules_is_401(gateway: Rig, extra: dict[str, Any]) -> None:
    assert (
        gateway.get(STUDIES, token=_forge({**HEADER, **extra}, access_token())).status_code == 401
    )


def test_s07_an_expired_token_is_401_though_its_signature_was_remembered(tmp_path: Path) -> None:
    with rig(tmp_path) as gateway:
        token = access_token(expires_at=int(time.time()) + 2, issued_at=int(time.time()) - 5)
        assert gateway.get(STUDIES, token=token).status_code == 200
        until = time.monotonic() + 6
        while (found := gateway.get(STUDIES, token=token)).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.05)

    assert found.status_code == 401
    assert found.json()["detail"] == "The credential has expired."
    assert 'error="invalid_token"' in found.headers["www-authenticate"]


@pytest.mark.parametrize("ahead_s", [120, 10**9])
def test_s08_a_token_from_the_future_is_401(gateway: Rig, ahead_s: int) -> None:
    now = int(time.time()) + ahead_s

    token = access_token(issued_at=now, expires_at=now + 600)

    assert gateway.get(STUDIES, token=token).status_code == 401


@pytest.mark.parametrize("audience", ["auth", "chexray", "vedette2", "vedett", "VEDETTE"])
def test_s09_a_token_for_somebody_else_is_401(gateway: Rig, audience: str) -> None:
    assert gateway.get(STUDIES, token=access_token(audience=audience)).status_code == 401


@pytest.mark.parametrize("issuer", ["other", "vedette/", "Vedette", ""])
def test_s10_a_token_of_another_issuer_is_401(gateway: Rig, issuer: str) -> None:
    assert gateway.get(STUDIES, token=access_token(issuer=issuer)).status_code == 401


@pytest.mark.parametrize("kind", [TokenType.REFRESH, TokenType.LEGACY, TokenType.DEVICE])
@pytest.mark.parametrize("audience", ["vedette", "auth", "chexray", "fleet"])
def test_s11_no_other_token_is_an_access_token(
    gateway: Rig, kind: TokenType, audience: str
) -> None:
    token = access_token(type=kind, audience=audience)

    assert gateway.get(STUDIES, token=token).status_code == 401


def test_s11_an_old_token_is_valid_for_its_own_api_and_in_its_own_place(gateway: Rig) -> None:
    def caller_of(authorization: str) -> Any:
        gateway.get("/api/chexray/user/", headers={"Authorization": authorization})
        return gateway.caller(gateway.last)

    good = caller_of(f"Token {legacy_token()}")
    assert (good.subject, good.credential, good.refusal) == ("0190-user", "token", None)
    for other in (
        legacy_token(audience="netra"),
        access_token(),
        access_token(type=TokenType.REFRESH, audience="chexray"),
    ):
        refused = caller_of(f"Token {other}")
        assert (refused.kind, refused.refusal) == ("anonymous", Refusal.INVALID)
    assert gateway.get(STUDIES, token=legacy_token()).status_code == 401
    in_another_place = caller_of(f"Bearer {legacy_token()}")
    assert (in_another_place.kind, in_another_place.refusal) == ("anonymous", None)


@pytest.mark.parametrize(
    ("authorization", "refusal"),
    [
        ("Token", Refusal.NO_CREDENTIALS),
        ("Token a b", Refusal.SPACES),
        ("token x", Refusal.INVALID),
        ("Token 0123456789abcdef", Refusal.INVALID),
        ("Bearer x", None),
        ("Basic YTpi", None),
        ("Tokenx y", None),
        ("Digest x", None),
    ],
)
def test_s11_an_old_wire_hears_why_a_token_was_refused(
    gateway: Rig, authorization: str, refusal: Refusal | None
) -> None:
    """The old server worded each of these itself; other schemes it did not look at."""
    gateway.get("/api/chexray/user/", headers={"Authorization": authorization})

    caller = gateway.caller(gateway.last)
    assert caller.kind == "anonymous"
    assert caller.refusal == refusal


def test_s11_characters_that_no_token_has_are_told_apart(gateway: Rig) -> None:
    gateway.exchange(
        b"GET /api/chexray/user/ HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Token \xc3\xa9\r\n\r\n"
    )

    assert gateway.caller(gateway.last).refusal == Refusal.CHARACTERS


@pytest.mark.parametrize(
    "token",
    [
        "a" * 8_100 + ".b.c",
        "." * 500,
        "a.b",
        "a.b.c.d",
        "e30.e30.e30",
        "[" * 5000 + ".b.c",
        "é.b.c",
    ],
)
def test_s12_a_shapeless_token_is_401_at_once(gateway: Rig, token: str) -> None:
    began_at = time.monotonic()

    head = f"GET {STUDIES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}"
    found = gateway.exchange(head.encode() + b"\r\n\r\n")

    assert status_of(found) == 401
    assert time.monotonic() - began_at < 2


def test_s13_another_spelling_of_a_revoked_token_is_refused_too(gateway: Rig) -> None:
    token = access_token(token_id="s13")
    last = token[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = token[:-1] + alphabet[alphabet.index(last) ^ 1]
    assert gateway.get(STUDIES, token=token).status_code == 200
    gateway.revocations.revoked["s13"] = Refusal.REVOKED

    for spelling in (token, sibling, token + "=", token + "=="):
        assert gateway.get(STUDIES, token=spelling).status_code == 401


def test_s13_a_revoked_token_is_refused_with_the_very_next_request(gateway: Rig) -> None:
    token = access_token(token_id="s13b")
    assert gateway.get(STUDIES, token=token).status_code == 200
    gateway.revocations.revoked["s13b"] = Refusal.INACTIVE

    found = gateway.get(STUDIES, token=token)

    assert found.status_code == 401
    assert found.json()["detail"] == "The account is not active."


def test_s15_an_encrypted_token_is_401(gateway: Rig) -> None:
    token = _encode(b'{"alg":"RSA-OAEP","enc":"A256GCM"}') + ".a.b.c.d"

    assert gateway.get(STUDIES, token=token).status_code == 401


def test_s16_a_token_with_any_character_changed_is_401(gateway: Rig) -> None:
    token = access_token(token_id="s16")
    step = max(1, len(token) // 40)

    for at in range(0, len(token), step):
        other = "A" if token[at] != "A" else "B"
        changed = token[:at] + other + token[at + 1 :]
        assert gateway.get(STUDIES, token=changed).status_code == 401, at


async def test_s17_a_retired_key_ends_for_remembered_tokens_too() -> None:
    """The key's own end is looked at with every request, not only when a token is first seen."""
    now = 1000.0

    async def fetch() -> bytes:
        retired = public_jwk(private_key().public_key(), "old", expires_at=2000)
        return json.dumps({"keys": [retired]}).encode()

    ring = KeyRing("vedette", fetch, lambda: now)
    await ring.refresh()

    assert ring.door.keys.find("old", 1999) is not None
    assert ring.door.keys.find("old", 2001) is None


async def test_s17_keys_are_used_for_a_day_while_auth_is_away() -> None:
    clock = [0.0]
    answers: list[bytes | None] = [
        json.dumps({"keys": [public_jwk(private_key().public_key(), KEY_ID)]}).encode()
    ]

    async def fetch() -> bytes:
        if answers[0] is None:
            raise ValueError("auth is away")
        return answers[0]

    ring = KeyRing("vedette", fetch, lambda: clock[0], max_age_s=86_400)
    with pytest.raises(Unavailable):
        ring.require_fresh()
    await ring.refresh()
    answers[0] = None
    clock[0] = 86_000.0
    await ring.refresh()
    ring.require_fresh()
    clock[0] = 86_500.0
    with pytest.raises(Unavailable):
        ring.require_fresh()


async def test_s17_a_new_key_is_fetched_as_soon_as_auth_tells_of_it() -> None:
    """Else a flood of made-up key ids could hide the one real one for half a minute."""
    names = ["first"]

    async def fetch() -> bytes:
        keys = [public_jwk(private_key().public_key(), name) for name in names]
        return json.dumps({"keys": keys}).encode()

    ring = KeyRing("vedette", fetch, lambda: 0.0, refresh_s=3600)
    following = asyncio.create_task(ring.keep_fresh())
    async with asyncio.timeout(5):
        while "first" not in ring.door.keys.key_ids:
            await asyncio.sleep(0)
        names.append("second")
        ring.refresh_soon()
        while "second" not in ring.door.keys.key_ids:
            await asyncio.sleep(0)
    following.cancel()


async def test_s17_a_set_with_a_bad_key_does_not_replace_a_good_one() -> None:
    good = json.dumps({"keys": [public_jwk(private_key().public_key(), KEY_ID)]}).encode()
    answers = iter([good, b'{"keys": []}', b"not json", b'{"keys": [{"kty": "oct"}]}'])

    async def fetch() -> bytes:
        return next(answers)

    ring = KeyRing("vedette", fetch, lambda: 0.0)
    for _ in range(4):
        await ring.refresh()

    assert ring.door.keys.key_ids == {KEY_ID}


def test_s17_tokens_are_checked_while_auth_is_away(tmp_path: Path) -> None:
    """RELIABILITY: without auth only what auth alone can do fails."""
    stub = StubService()
    is_away = False

    async def auth(scope: Scope, receive: Receive, send: Send) -> None:
        if is_away and scope["type"] == "http" and scope["path"] != "/open/x":
            if scope["path"].startswith("/api/v2/chexray"):
                await answer(send, b"studies")
                return
            raise ConnectionError
        await stub(scope, receive, send)

    with rig(tmp_path, auth) as gateway:
        is_away = True

        assert gateway.get(STUDIES, token=access_token(token_id="s17")).status_code == 200
        by_key = gateway.get(STUDIES, token="vdt_good")

    assert by_key.status_code == 503
    assert by_key.json()["type"] == "/problems/auth-unavailable"


@pytest.mark.parametrize(("ahead_s", "status"), [(55, 200), (65, 401)])
def test_s18_another_clock_may_be_a_minute_ahead(gateway: Rig, ahead_s: int, status: int) -> None:
    now = int(time.time()) + ahead_s

    token = access_token(issued_at=now, expires_at=now + 300, token_id=f"s18-{ahead_s}")

    assert gateway.get(STUDIES, token=token).status_code == status


# Scopes, API keys and passwords


def test_a_scope_is_needed_for_what_is_done(gateway: Rig) -> None:
    reader = access_token(scopes=frozenset({"chexray:read"}), token_id="reader")

    read = gateway.get(STUDIES, token=reader)
    written = gateway.post(STUDIES, token=reader, content=b"x")

    assert (read.status_code, written.status_code) == (200, 403)
    assert written.json()["detail"] == "This needs the scope chexray:write."


def test_an_api_key_is_asked_about_once_and_again_after_a_revocation(gateway: Rig) -> None:
    before = gateway.service.introspections

    for _ in range(5):
        assert gateway.get(STUDIES, token="vdt_good").status_code == 200
    once = gateway.service.introspections - before
    for callback in gateway.revocations.callbacks:
        callback(None)  # type: ignore[arg-type]  # what was revoked makes no difference
    gateway.get(STUDIES, token="vdt_good")

    assert once == 1
    assert gateway.service.introspections - before == 2
    assert gateway.caller(gateway.last).credential == "api-key"


def test_a_bad_api_key_or_password_is_401(gateway: Rig) -> None:
    basic = {"Authorization": "Basic YWRhOmJhZA=="}

    assert gateway.get(STUDIES, token="vdt_bad").status_code == 401
    assert gateway.get("/basic/x", headers=basic).status_code == 401
    assert gateway.get(STUDIES, headers=basic).status_code == 401


def test_a_good_password_is_a_caller_where_the_policy_takes_one(gateway: Rig) -> None:
    basic = {"Authorization": "Basic YWRhOmdvb2Q="}

    assert gateway.get("/basic/x", headers=basic).status_code == 200
    assert gateway.caller(gateway.last).credential == "basic"
    assert gateway.get(STUDIES, headers=basic).status_code == 401


# 79, 80: logs and labels


def test_s79_nothing_that_a_client_sends_can_write_a_log_line(
    gateway: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway.get(
        "/open/x", headers={"X-Request-ID": 'x", "level": "error', "User-Agent": "\x1b[31m"}
    )
    gateway.exchange(b"GET /open/%0d%0aforged HTTP/1.1\r\nHost: localhost\r\n\r\n")
    gateway.request("FORGED", "/open/x")
    written = ""

    def are_written() -> bool:
        nonlocal written
        written += capfd.readouterr().out
        return written.count("request_refused") >= 2 and "request_answered" in written

    assert eventually(are_written, within_s=5)
    assert "forged" not in written.lower()
    assert "\x1b[31m" not in written
    lines = [json.loads(line) for line in written.splitlines() if line.startswith('{"service"')]
    assert {line["level"] for line in lines} == {"info"}
    assert {line["event"] for line in lines} == {"request_answered"}


def test_s80_made_up_paths_and_methods_make_no_new_metrics(gateway: Rig) -> None:
    def series() -> set[str]:
        text = gateway.get("/metrics").text
        return {line.split(" ")[0] for line in text.splitlines() if "vedette_request" in line}

    for number in range(3):
        gateway.get(f"/nowhere/{number}")
        gateway.get(f"/open/{number}")
        gateway.request("MKCOL", "/open/x")
        series()
    before = series()
    for number in range(3, 60):
        gateway.get(f"/nowhere/{number}")
        gateway.get(f"/open/{number}")
        gateway.request("MKCOL", "/open/x")

    assert series() == before


# 84: failing closed


def test_s84_without_word_of_revocations_nobody_is_let_in_by_a_token(tmp_path: Path) -> None:
    with rig(tmp_path) as gateway:
        token = access_token()
        assert gateway.get(STUDIES, token=token).status_code == 200
        gateway.revocations.is_fresh = False

        refused = gateway.get(STUDIES, token=token)
        by_key = gateway.get(STUDIES, token="vdt_good")
        open_to_all = gateway.get("/open/x")
        ready = gateway.get("/readyz")

    assert (refused.status_code, by_key.status_code) == (503, 503)
    assert refused.headers["retry-after"] == "1"
    assert open_to_all.status_code == 200
    assert ready.status_code == 503


def test_s84_a_limit_that_is_reached_is_429_with_everything_a_client_needs(tmp_path: Path) -> None:
    with rig(tmp_path) as gateway:
        statuses = [gateway.get("/tight/x").status_code for _ in range(3)]
        refused = gateway.get("/tight/x")
        elsewhere = gateway.get("/open/x")

    assert statuses == [200, 200, 200]
    assert refused.status_code == 429
    assert refused.headers["ratelimit"] == '"tight";r=0;t=60'
    assert refused.headers["ratelimit-policy"] == '"tight";q=3;w=60'
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.json()["violated-policies"] == ["tight"]
    assert elsewhere.status_code == 200


def test_s84_open_uploads_are_ten_a_minute_and_logins_too(tmp_path: Path) -> None:
    with rig(tmp_path) as gateway:
        for path in ("/api/chexray/anonupload/", "/api/chexray/login/"):
            statuses = [gateway.post(path, content=b"x").status_code for _ in range(11)]
            assert statuses == [200] * 10 + [429]
        assert gateway.get("/api/chexray/user/").status_code == 200
