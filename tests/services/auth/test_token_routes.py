"""The token endpoint, revocation and the published keys."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from services.auth.domain import ACCESS_LIFETIME
from shared.tokens import TokenType
from tests.database import execute, with_database
from tests.services.auth.rig import ADMIN, PASSWORD, Auth


async def test_a_login_hands_out_a_bearer_pair(auth: Auth) -> None:
    answer = await auth.grant(grant_type="password", username=ADMIN, password=PASSWORD)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == ACCESS_LIFETIME.total_seconds()
    assert answer.headers["cache-control"] == "no-store"


async def test_an_access_token_lists_what_its_holder_may_do(auth: Auth) -> None:
    claims = await auth.claims((await auth.log_in())["access_token"])

    assert claims.username == ADMIN
    assert claims.kind == "user"
    assert claims.roles == ("admin",)
    assert {"users:admin", "chexray:write"} <= claims.scopes
    assert claims.expires_at - claims.issued_at == 900


async def test_a_refresh_token_says_nothing_about_its_holder(auth: Auth) -> None:
    tokens = await auth.log_in()
    claims = await auth.claims(tokens["refresh_token"], TokenType.REFRESH, "auth")

    assert claims.scopes == frozenset()
    assert claims.roles == ()
    assert claims.username == ""


async def test_a_refresh_hands_out_the_next_pair(auth: Auth) -> None:
    tokens = await auth.log_in()
    answer = await auth.refresh(tokens["refresh_token"])

    assert answer.status_code == 200
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    first = await auth.claims(tokens["access_token"])
    second = await auth.claims(answer.json()["access_token"])
    assert second.session_id == first.session_id
    assert second.token_id != first.token_id


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "invalid_request"),
        ({"grant_type": "password", "username": ADMIN}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant"),
        ({"grant_type": "password", "username": ADMIN, "password": "x"}, 400, "invalid_grant"),
    ],
)
async def test_a_refused_grant_is_a_problem_that_oauth_clients_understand(
    auth: Auth, form: dict[str, str], status: int, error: str
) -> None:
    answer = await auth.grant(**form)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["error"] == error
    assert {"type", "title", "status", "detail", "request_id"} <= set(answer.json())


async def test_s52_a_parameter_given_twice_is_refused(auth: Auth) -> None:
    body = f"grant_type=password&username=nobody&username={ADMIN}&password=x"
    answer = await auth.call(
        "POST",
        "/api/v2/auth/token",
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


async def test_unknown_parameters_are_ignored(auth: Auth) -> None:
    """RFC 6749, section 3.2: clients send a scope or a client id of their own accord."""
    answer = await auth.grant(
        grant_type="password", username=ADMIN, password=PASSWORD, scope="", client_id="x"
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("content", ["json", "data"])
async def test_a_token_is_revoked_by_showing_it(auth: Auth, content: str) -> None:
    tokens = await auth.log_in()
    shown: dict[str, Any] = {content: {"token": tokens["refresh_token"]}}
    answer = await auth.call("POST", "/api/v2/auth/revoke", **shown)

    assert answer.status_code == 204
    assert (await auth.refresh(tokens["refresh_token"])).status_code == 400


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "vdt_nonsense", "x" * 8000])
async def test_revoking_what_is_no_token_changes_nothing_and_tells_nothing(
    auth: Auth, token: str
) -> None:
    answer = await auth.call("POST", "/api/v2/auth/revoke", json={"token": token})

    assert answer.status_code == 204


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a", "b": 1}', b"{"]
)
async def test_a_revocation_that_names_no_token_is_422(auth: Auth, body: bytes) -> None:
    answer = await auth.call(
        "POST",
        "/api/v2/auth/revoke",
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422


async def test_an_api_key_is_revoked_by_showing_it(auth: Auth) -> None:
    """Whoever finds a leaked key can end it."""
    caller = await auth.sign_in_new_user()
    made = await auth.call(
        "POST", "/api/v2/auth/api-keys", caller=caller, json={"name": "k", "scopes": []}
    )
    await auth.call("POST", "/api/v2/auth/revoke", json={"token": made.json()["key"]})
    listed = await auth.call("GET", "/api/v2/auth/api-keys", caller=caller)

    assert listed.json()["items"] == []


async def test_the_public_keys_may_be_cached_and_hold_no_secret(auth: Auth) -> None:
    answer = await auth.call("GET", "/.well-known/jwks.json")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert len(answer.json()["keys"]) == 2
    for key in answer.json()["keys"]:
        assert set(key) == {"alg", "kty", "n", "e", "kid", "use"}


async def test_unchanged_keys_are_not_sent_again(auth: Auth) -> None:
    first = await auth.call("GET", "/.well-known/jwks.json")
    again = await auth.call(
        "GET", "/.well-known/jwks.json", headers={"If-None-Match": first.headers["etag"]}
    )

    assert again.status_code == 304
    assert again.content == b""


async def test_the_keys_are_published_while_the_database_is_away(fresh_auth: Auth) -> None:
    """Gateways go on verifying; only what has to be written waits."""
    published = await fresh_auth.call("GET", "/.well-known/jwks.json")
    name = urlsplit(fresh_auth.database_url).path.removeprefix("/")
    maintenance = with_database(fresh_auth.database_url, "postgres")
    await execute(maintenance, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await execute(
        maintenance,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608  # the fixture made the name
    )
    fresh_auth.clock.advance(seconds=2)
    again = await fresh_auth.call("GET", "/.well-known/jwks.json")
    await execute(maintenance, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    assert again.json() == published.json()
    assert (await fresh_auth.log_in())["access_token"]
