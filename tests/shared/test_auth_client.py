"""What a service asks auth, and what it makes of the answers."""

import json

import httpx
import pytest

from shared.assertions import HEADER, AssertionSigner, AssertionVerifier
from shared.auth_client import (
    Account,
    AuthAway,
    AuthClient,
    Credentials,
    CredentialsRefused,
    PasswordTooCommon,
    PasswordTooShort,
    UsernameTaken,
    WrongCredentials,
)
from shared.problems import TooManyRequests

KEY = b"s" * 32
BOB = Credentials("bob", "hunter2222", "203.0.113.7")
USER_ID = "01920000-0000-7000-8000-000000000001"
ACCOUNT = {"user_id": USER_ID, "username": "bob", "token": "t", "expires_in": 2_592_000}


def client_of(
    status: int, body: object, headers: dict[str, str] | None = None
) -> tuple[AuthClient, list[httpx.Request]]:
    """A client of an auth that always gives this answer, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, json=body, headers=headers)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://auth")
    return AuthClient("chexray", http, AssertionSigner("chexray", KEY)), asked


def problem(slug: str) -> dict[str, str]:
    """The part of a problem that is looked at."""
    return {"type": f"/problems/{slug}"}


async def test_sign_up_sends_credentials_under_the_services_own_name() -> None:
    """With the client's address, for auth's limits."""
    auth, asked = client_of(201, ACCOUNT)
    account = await auth.sign_up(BOB)
    caller = AssertionVerifier("auth", {"chexray": KEY}).verify(asked[0].headers[HEADER])

    assert account == Account.model_validate(ACCOUNT)
    assert asked[0].url.path == "/internal/legacy/sign-up"
    assert json.loads(asked[0].content) == {
        "api": "chexray",
        "username": "bob",
        "password": "hunter2222",
        "address": "203.0.113.7",
    }
    assert (caller.kind, caller.subject) == ("service", "chexray")


async def test_login_gives_the_account() -> None:
    """With 200, as nothing is made."""
    auth, asked = client_of(200, ACCOUNT)

    assert (await auth.log_in(BOB)).token == "t"
    assert asked[0].url.path == "/internal/legacy/login"


@pytest.mark.parametrize(
    ("status", "slug", "error"),
    [
        (409, "username-taken", UsernameTaken),
        (422, "password-too-short", PasswordTooShort),
        (422, "password-too-common", PasswordTooCommon),
        (422, "username-invalid", CredentialsRefused),
        (401, "unauthenticated", AuthAway),
        (500, "internal-error", AuthAway),
        (200, "what-is-this", AuthAway),
    ],
)
async def test_refused_sign_ups_have_types(status: int, slug: str, error: type[Exception]) -> None:
    """What is not foreseen counts as auth being away, never as a client's mistake."""
    auth, _ = client_of(status, problem(slug))

    with pytest.raises(error):
        await auth.sign_up(BOB)


@pytest.mark.parametrize(
    ("status", "slug", "error"),
    [
        (401, "wrong-credentials", WrongCredentials),
        (401, "unauthenticated", AuthAway),
        (422, "invalid-request", CredentialsRefused),
        (503, "hashing-busy", AuthAway),
    ],
)
async def test_refused_logins_have_types(status: int, slug: str, error: type[Exception]) -> None:
    """An assertion that auth does not believe is not a wrong password."""
    auth, _ = client_of(status, problem(slug))

    with pytest.raises(error):
        await auth.log_in(BOB)


async def test_a_limit_says_when_to_come_back() -> None:
    """`Retry-After` is passed on."""
    auth, _ = client_of(429, problem("too-many-attempts"), {"Retry-After": "17"})

    with pytest.raises(TooManyRequests) as raised:
        await auth.log_in(BOB)
    assert raised.value.headers["Retry-After"] == "17"


@pytest.mark.parametrize("body", [["no", "object"], "text", {"user_id": "no uuid"}])
async def test_an_answer_that_makes_no_sense_is_auth_being_away(body: object) -> None:
    """Never a crash."""
    auth, _ = client_of(200, body)

    with pytest.raises(AuthAway):
        await auth.log_in(BOB)


async def test_no_answer_is_auth_being_away() -> None:
    """Refused, reset or too slow."""

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    http = httpx.AsyncClient(transport=httpx.MockTransport(silent), base_url="http://auth")

    with pytest.raises(AuthAway):
        await AuthClient("chexray", http, AssertionSigner("chexray", KEY)).log_in(BOB)
