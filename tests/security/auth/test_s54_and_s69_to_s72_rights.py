"""Attacks 54, 69 to 72 and 79: somebody else's things, forgotten policies, chatty answers."""

import re
from itertools import product
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from services.auth.app import create_app
from shared.assertions import OPEN_PATHS, AssertionVerifier, Caller
from tests.services.auth.rig import ADMIN, ANONYMOUS, NEW_PASSWORD, PASSWORD, Auth

AUTH = "/api/v2/auth"

#: What somebody without any credential may call, and why.
OPEN = {
    ("POST", f"{AUTH}/token"): "it is where credentials come from",
    ("POST", f"{AUTH}/revoke"): "the token itself is the credential",
    ("GET", "/.well-known/jwks.json"): "public keys",
    ("HEAD", "/.well-known/jwks.json"): "public keys",
}

NEEDS_SCOPE = {
    ("GET", f"{AUTH}/users"): "users:admin",
    ("POST", f"{AUTH}/users"): "users:admin",
    ("GET", f"{AUTH}/users/{{user_id}}"): "users:admin",
    ("PATCH", f"{AUTH}/users/{{user_id}}"): "users:admin",
    ("GET", f"{AUTH}/keys"): "users:admin",
    ("POST", f"{AUTH}/keys/rotate"): "users:admin",
    ("GET", f"{AUTH}/audit"): "audit:read",
}

ROUTES = sorted(
    (method, str(route.path))
    for route in iter_route_contexts(create_app(None, AssertionVerifier("auth", {})).routes)
    for method in route.methods or ()
    if route.path not in {"/openapi.json", "/metrics", *OPEN_PATHS}
)
"""Every route there is, so that one that is added without a policy fails here."""


def concrete(path: str) -> str:
    """A path with an identifier in it that nobody has."""
    return re.sub(r"\{\w+\}", "01900000-0000-7000-8000-00000000dead", path)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in OPEN])
async def test_s71_every_route_refuses_who_shows_no_credential(
    auth: Auth, method: str, path: str
) -> None:
    answer = await auth.call(method, concrete(path), caller=ANONYMOUS, json={})

    assert answer.status_code == 401


def test_s71_what_is_open_and_what_needs_a_scope_exists() -> None:
    assert set(ROUTES) >= set(OPEN) | set(NEEDS_SCOPE)


@pytest.mark.parametrize(("method", "path"), NEEDS_SCOPE)
async def test_s69_an_administrators_route_refuses_every_other_role(
    auth: Auth, method: str, path: str
) -> None:
    caller = await auth.sign_in_new_user("clinician", "operator", "analyst", "developer")
    answer = await auth.call(method, concrete(path), caller=caller, json={})

    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/forbidden"


@pytest.mark.parametrize(
    ("method", "path"),
    [route for route in ROUTES if route not in OPEN and route[1].startswith(AUTH)],
)
async def test_s69_an_api_key_without_scopes_may_do_nothing(
    auth: Auth, method: str, path: str
) -> None:
    person = await auth.administrator()
    program = Caller(
        subject=person.subject, kind="user", username=ADMIN, roles=("admin",), credential="api-key"
    )
    answer = await auth.call(method, concrete(path), caller=program, json={})

    assert answer.status_code == 403


@pytest.mark.parametrize("credential", ["api-key", "token", "basic", "query"])
@pytest.mark.parametrize("path", ["api-keys", "sessions"])
async def test_s69_only_an_access_token_manages_credentials(
    auth: Auth, credential: Any, path: str
) -> None:
    """A stolen key cannot make itself a second one."""
    person = await auth.administrator()
    other = Caller(subject=person.subject, kind="user", scopes=person.scopes, credential=credential)

    assert (await auth.call("GET", f"{AUTH}/{path}", caller=other)).status_code == 403
    made = await auth.call(
        "POST", f"{AUTH}/api-keys", caller=other, json={"name": "k", "scopes": []}
    )
    assert made.status_code == 403


async def test_s69_somebody_elses_things_are_not_there(auth: Auth) -> None:
    """404 as for what does not exist, with the same body."""
    owner, other = await auth.sign_in_new_user(), await auth.sign_in_new_user("admin")
    made = await auth.call(
        "POST", f"{AUTH}/api-keys", caller=owner, json={"name": "k", "scopes": []}
    )
    nothing = "01900000-0000-7000-8000-00000000dead"
    for collection, theirs in (("api-keys", made.json()["id"]), ("sessions", owner.session_id)):
        foreign = await auth.call("DELETE", f"{AUTH}/{collection}/{theirs}", caller=other)
        absent = await auth.call("DELETE", f"{AUTH}/{collection}/{nothing}", caller=other)

        assert foreign.status_code == absent.status_code == 404
        assert foreign.json()["detail"] == absent.json()["detail"]
    listed = await auth.call("GET", f"{AUTH}/sessions", caller=owner)
    assert str(owner.session_id) in listed.text


async def test_s70_lists_show_ones_own_things_alone(auth: Auth) -> None:
    owner, other = await auth.sign_in_new_user(), await auth.sign_in_new_user()
    made = await auth.call(
        "POST", f"{AUTH}/api-keys", caller=owner, json={"name": "of the owner", "scopes": []}
    )
    for collection, cursor in product(
        ("api-keys", "sessions"),
        ("", "?cursor=00000000-0000-0000-0000-000000000000",
         "?cursor=ffffffff-ffff-ffff-ffff-ffffffffffff", f"?cursor={made.json()['id']}"),
    ):  # fmt: skip
        listed = await auth.call("GET", f"{AUTH}/{collection}{cursor}", caller=other)

        assert listed.status_code == 200
        assert made.json()["id"] not in listed.text
        assert str(owner.session_id) not in listed.text


async def test_s72_no_answer_holds_a_secret(auth: Auth) -> None:
    """Neither hashes nor digests nor private keys nor tokens of others."""
    caller = await auth.administrator()
    await auth.call("POST", f"{AUTH}/api-keys", caller=caller, json={"name": "k", "scopes": []})
    for path in ("users", "users/me", "api-keys", "sessions", "keys", "audit"):
        answer = await auth.call("GET", f"{AUTH}/{path}", caller=caller)

        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        for secret in ("argon2", "hash", "digest", "private", "wrapped", "vdt_", "eyJ"):
            assert secret not in answer.text


async def test_s72_an_answer_has_the_declared_members_alone(auth: Auth) -> None:
    caller = await auth.administrator()
    me = await auth.call("GET", f"{AUTH}/users/me", caller=caller)
    user = await auth.call("GET", f"{AUTH}/users/{caller.subject}", caller=caller)
    session = await auth.call("GET", f"{AUTH}/sessions", caller=caller)

    assert set(me.json()) == {"id", "username", "email", "roles", "scopes"}
    assert set(user.json()) == set(me.json()) | {"disabled", "created_at"}
    assert set(session.json()["items"][0]) == {
        "id", "kind", "api", "address", "created_at", "last_used_at", "expires_at", "current",
    }  # fmt: skip


async def test_s54_no_token_password_or_key_is_ever_logged(
    auth: Auth, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await auth.add_user()
    tokens = await auth.log_in(made["username"])
    caller = await auth.caller(tokens["access_token"])
    key = await auth.call(
        "POST", f"{AUTH}/api-keys", caller=caller, json={"name": "k", "scopes": []}
    )
    await auth.ask("/internal/introspect", {"scheme": "api-key", "credential": key.json()["key"]})
    renewed = (await auth.refresh(tokens["refresh_token"])).json()
    auth.clock.advance(seconds=11)
    await auth.refresh(tokens["refresh_token"])
    await auth.grant(grant_type="password", username=made["username"], password=NEW_PASSWORD)
    await auth.call("POST", f"{AUTH}/revoke", json={"token": renewed["access_token"]})
    logged = "".join(capsys.readouterr())
    secrets = [
        PASSWORD, NEW_PASSWORD, key.json()["key"], made["username"],
        *(tokens[name] for name in ("access_token", "refresh_token")),
        *(renewed[name] for name in ("access_token", "refresh_token")),
    ]  # fmt: skip

    assert "refresh_token_reused" in logged
    assert [secret for secret in secrets if secret in logged] == []


@pytest.mark.parametrize("username", ["a\r\nforged=1", "a\x1b[31m", "a\u2028b", "\u202efdp"])
async def test_s79_no_name_forges_a_log_line(
    auth: Auth, capsys: pytest.CaptureFixture[str], username: str
) -> None:
    await auth.grant(grant_type="password", username=username, password="wrong password")
    await auth.ask(
        "/internal/legacy/sign-up",
        {"api": "chexray", "username": username, "password": "eight-ch"},
    )

    assert username not in "".join(capsys.readouterr())
