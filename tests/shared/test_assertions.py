"""The internal assertion: believed by one service, for a minute, from issuers it knows."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt

from shared.assertions import (
    HEADER,
    AssertionMiddleware,
    AssertionRefused,
    AssertionSigner,
    AssertionVerifier,
    Caller,
    CallerDep,
    Refusal,
    require,
)
from shared.problems import install_problem_handlers

KEY = b"k" * 32
OTHER_KEY = b"o" * 32
NOW = 1_800_000_000.0
ANNA = Caller(
    subject="0190f5d3-0000-7000-8000-000000000002",
    kind="user",
    username="anna",
    roles=("clinician",),
    scopes=frozenset({"chexray:read", "chexray:write"}),
    token_id="t1",
    session_id="s1",
    credential="bearer",
)

CLAIMS = {
    "iss": "gateway",
    "aud": "chexray",
    "sub": "x",
    "iat": int(NOW),
    "exp": int(NOW) + 60,
    "kind": "user",
    "scope": "",
    "roles": [],
    "credential": "none",
}


def signer() -> AssertionSigner:
    return AssertionSigner("gateway", KEY)


def verifier() -> AssertionVerifier:
    return AssertionVerifier("chexray", {"gateway": KEY, "netra": OTHER_KEY})


def test_what_is_stated_is_what_is_read() -> None:
    assert verifier().verify(signer().sign(ANNA, "chexray", now=NOW), now=NOW) == ANNA


def test_a_refused_credential_travels_with_its_reason() -> None:
    caller = Caller(subject="anonymous", kind="anonymous", refusal=Refusal.EXPIRED)
    assert verifier().verify(signer().sign(caller, "chexray", now=NOW), now=NOW) == caller


def test_another_service_does_not_believe_it() -> None:
    text = signer().sign(ANNA, "auth", now=NOW)
    with pytest.raises(AssertionRefused):
        verifier().verify(text, now=NOW)


@pytest.mark.parametrize(("age_s", "believed"), [(0, True), (64, True), (66, False), (-6, False)])
def test_it_lives_for_a_minute(age_s: float, believed: bool) -> None:
    text = signer().sign(ANNA, "chexray", now=NOW)
    if believed:
        assert verifier().verify(text, now=NOW + age_s) == ANNA
    else:
        with pytest.raises(AssertionRefused):
            verifier().verify(text, now=NOW + age_s)


def test_a_remembered_assertion_expires_too() -> None:
    """The signature is checked once; the time every time."""
    reader, text = verifier(), signer().sign(ANNA, "chexray", now=NOW)
    reader.verify(text, now=NOW)
    with pytest.raises(AssertionRefused):
        reader.verify(text, now=NOW + 66)


def test_a_service_cannot_speak_for_a_user() -> None:
    text = AssertionSigner("netra", OTHER_KEY).sign(ANNA, "chexray", now=NOW)
    with pytest.raises(AssertionRefused, match="itself"):
        verifier().verify(text, now=NOW)


def test_a_service_speaks_for_itself() -> None:
    netra = Caller(subject="netra", kind="service")
    text = AssertionSigner("netra", OTHER_KEY).sign(netra, "chexray", now=NOW)
    assert verifier().verify(text, now=NOW).subject == "netra"


def test_a_longer_life_than_a_minute_is_refused() -> None:
    text = jwt.encode(CLAIMS | {"exp": int(NOW) + 3600}, KEY, headers={"kid": "gateway"})
    with pytest.raises(AssertionRefused):
        verifier().verify(text, now=NOW)


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "iat", "exp", "kind", "scope", "roles"])
def test_a_missing_claim_is_refused(missing: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    text = jwt.encode(claims, KEY, headers={"kid": "gateway"})
    with pytest.raises(AssertionRefused):
        verifier().verify(text, now=NOW)


def test_an_unsigned_assertion_is_refused() -> None:
    header, payload, _ = signer().sign(ANNA, "chexray", now=NOW).split(".")
    fields = json.loads(urlsafe_b64decode(header + "=="))
    plain = urlsafe_b64encode(json.dumps(fields | {"alg": "none"}).encode()).decode().rstrip("=")
    with pytest.raises(AssertionRefused):
        verifier().verify(f"{plain}.{payload}.", now=NOW)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{0,40}){2}"))
def test_nonsense_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(AssertionRefused):
        verifier().verify(text, now=NOW)


def application() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/livez")
    async def livez() -> str:
        return "alive"

    @app.get("/me")
    async def me(caller: CallerDep) -> str:
        return caller.subject

    @app.get("/read", dependencies=[Depends(require("chexray:read"))])
    async def read() -> str:
        return "read"

    @app.get("/admin", dependencies=[Depends(require("users:admin"))])
    async def admin() -> str:
        return "admin"

    app.add_middleware(AssertionMiddleware, verifier=verifier())
    return app


async def get(path: str, caller: Caller | None) -> httpx.Response:
    headers = {} if caller is None else {HEADER: signer().sign(caller, "chexray")}
    transport = httpx.ASGITransport(app=application())
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get(path, headers=headers)


async def test_s37_a_direct_call_to_a_service_is_401() -> None:
    answer = await get("/me", None)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/unauthenticated"


async def test_s37_an_identity_header_alone_means_nothing() -> None:
    transport = httpx.ASGITransport(app=application())
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/me", headers={"X-User-Id": ANNA.subject, HEADER: "a.b.c"})
    assert answer.status_code == 401


async def test_health_is_open_to_a_process_supervisor() -> None:
    assert (await get("/livez", None)).status_code == 200


async def test_scopes_open_routes() -> None:
    assert (await get("/read", ANNA)).status_code == 200
    assert (await get("/admin", ANNA)).status_code == 403
    anonymous = await get("/read", Caller(subject="anonymous", kind="anonymous"))
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"] == "Bearer"
