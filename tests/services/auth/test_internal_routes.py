"""What the gateway and the services ask auth."""

import base64
from typing import Any

import pytest

from shared.assertions import HEADER, AssertionSigner, Caller
from shared.keys import read_key
from shared.tokens import TokenRefused, TokenType
from tests.services.auth.rig import PASSWORD, Auth

SIGN_UP = "/internal/legacy/sign-up"
LOG_IN = "/internal/legacy/login"
INTROSPECT = "/internal/introspect"


def basic(username: str, password: str) -> dict[str, str]:
    """A Basic credential as the gateway passes it on."""
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"scheme": "basic", "credential": encoded}


async def test_who_signs_up_through_an_old_api_gets_its_token(auth: Auth) -> None:
    answer = await auth.ask(SIGN_UP, {"api": "chexray", "username": "bob", "password": "eight-ch"})

    body = answer.json()
    claims = await auth.claims(body["token"], TokenType.LEGACY, "chexray")
    assert answer.status_code == 201
    assert set(body) == {"user_id", "username", "token", "expires_in"}
    assert body["username"] == "bob"
    assert body["expires_in"] == 30 * 86_400
    assert claims.subject == body["user_id"]
    assert claims.roles == ("clinician",)


async def test_a_user_name_is_taken_once_for_all_apis(auth: Auth) -> None:
    made = await auth.add_user()
    answer = await auth.ask(
        SIGN_UP, {"api": "chexray", "username": made["username"], "password": "eight-ch"}
    )

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/username-taken"


async def test_a_short_password_is_refused_at_an_old_sign_up(auth: Auth) -> None:
    answer = await auth.ask(
        SIGN_UP, {"api": "chexray", "username": "shorty", "password": "seven-c"}
    )

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/password-too-short"


async def test_one_account_works_on_both_generations(auth: Auth) -> None:
    await auth.ask(SIGN_UP, {"api": "chexray", "username": "ann", "password": "eight-ch"})
    old = await auth.ask(LOG_IN, {"api": "chexray", "username": "ann", "password": "eight-ch"})

    assert old.status_code == 200
    assert (await auth.log_in("ann", "eight-ch"))["access_token"]


@pytest.mark.parametrize(
    ("service", "role", "lifetime_s"),
    [
        ("chexray", "clinician", 30 * 86_400),
        ("netra", "clinician", 2 * 3600),
        ("fleet", "operator", 12 * 3600),
    ],
)
async def test_every_old_api_has_its_role_and_lifetime(
    auth: Auth, service: str, role: str, lifetime_s: int
) -> None:
    question = {"api": service, "username": f"of-{service}", "password": "eight-ch"}
    answer = await auth.ask(SIGN_UP, question, service=service)

    claims = await auth.claims(answer.json()["token"], TokenType.LEGACY, service)
    assert answer.json()["expires_in"] == lifetime_s
    assert claims.roles == (role,)
    assert {scope.split(":")[0] for scope in claims.scopes} == {service}


@pytest.mark.parametrize("username", ["bob", "nobody-has-this-name"])
async def test_a_wrong_old_login_is_401(auth: Auth, username: str) -> None:
    answer = await auth.ask(
        LOG_IN, {"api": "chexray", "username": username, "password": "wrong password"}
    )

    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/wrong-credentials"


async def test_s55_a_token_of_an_old_api_has_no_more_rights_than_that_api_needs(
    auth: Auth,
) -> None:
    """Not even an administrator's; and it is no modern access token."""
    made = await auth.add_user("admin")
    answer = await auth.ask(
        LOG_IN, {"api": "chexray", "username": made["username"], "password": PASSWORD}
    )
    token = answer.json()["token"]

    claims = await auth.claims(token, TokenType.LEGACY, "chexray")
    assert claims.scopes == {"chexray:read", "chexray:write"}
    with pytest.raises(TokenRefused):
        await auth.claims(token)
    with pytest.raises(TokenRefused):
        await auth.claims(token, TokenType.LEGACY, "netra")


async def test_a_service_speaks_for_its_own_api_alone(auth: Auth) -> None:
    question = {"api": "netra", "username": "mallory", "password": "eight-ch"}
    answer = await auth.ask(SIGN_UP, question, service="chexray")

    assert answer.status_code == 403


async def test_a_basic_credential_speaks_for_an_account(auth: Auth) -> None:
    made = await auth.add_user("analyst")
    answer = await auth.ask(INTROSPECT, basic(made["username"], PASSWORD), service="gateway")

    assert answer.json() == {
        "subject": made["id"],
        "kind": "user",
        "username": made["username"],
        "roles": ["analyst"],
        "scopes": ["bqat:read", "bqat:write"],
        "token_id": None,
        "session_id": None,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    "credential", ["", "!!", "bm8gY29sb24=", base64.b64encode(b"\xff\xfe:x").decode(), "é"]
)
async def test_a_broken_basic_credential_is_401(auth: Auth, credential: str) -> None:
    question = {"scheme": "basic", "credential": credential}

    assert (await auth.ask(INTROSPECT, question, service="gateway")).status_code == 401


@pytest.mark.parametrize("key", ["", "vdt_", "vdt_" + "0" * 38, "x" * 8192])
async def test_a_broken_api_key_is_401(auth: Auth, key: str) -> None:
    question = {"scheme": "api-key", "credential": key}

    assert (await auth.ask(INTROSPECT, question, service="gateway")).status_code == 401


@pytest.mark.parametrize("path", [SIGN_UP, LOG_IN, INTROSPECT])
@pytest.mark.parametrize("kind", ["anonymous", "user"])
async def test_clients_do_not_reach_internal_routes(auth: Auth, path: str, kind: Any) -> None:
    """Even if the gateway forwarded one by mistake."""
    caller = Caller(subject="somebody", kind=kind, scopes=frozenset({"users:admin"}))
    answer = await auth.call("POST", path, caller=caller, json={})

    assert answer.status_code == 401


@pytest.mark.parametrize("path", [SIGN_UP, LOG_IN, INTROSPECT, "/api/v2/auth/users/me", "/metrics"])
async def test_s37_a_direct_call_without_an_assertion_is_401(auth: Auth, path: str) -> None:
    forged = AssertionSigner("gateway", b"k" * 32).sign(
        Caller(subject="chexray", kind="service"), "auth"
    )

    assert (await auth.client.post(path, json={})).status_code == 401
    assert (await auth.client.post(path, json={}, headers={HEADER: forged})).status_code == 401


async def test_s37_a_service_cannot_speak_for_a_person(auth: Auth) -> None:
    key = read_key(auth.keys_dir, "service-chexray")
    forged = AssertionSigner("chexray", key).sign(
        Caller(subject="somebody", kind="user", scopes=frozenset({"users:admin"})), "auth"
    )
    answer = await auth.client.get("/api/v2/auth/users", headers={HEADER: forged})

    assert answer.status_code == 401


async def test_readiness_needs_no_assertion(auth: Auth) -> None:
    assert (await auth.client.get("/livez")).status_code == 200
    ready = await auth.client.get("/readyz")

    assert ready.status_code == 200
    assert set(ready.json()["checks"]) == {"database", "keys"}
