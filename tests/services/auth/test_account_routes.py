"""Accounts over the wire: one's own, and everybody's for administrators."""

from typing import Any

import pytest

from services.auth.domain import ANONYMOUS_ID
from tests.services.auth.rig import ADMIN, NEW_PASSWORD, PASSWORD, Auth

USERS = "/api/v2/auth/users"


async def test_a_person_sees_the_own_account(auth: Auth) -> None:
    made = await auth.add_user("clinician", "analyst")
    caller = await auth.caller((await auth.log_in(made["username"]))["access_token"])
    answer = await auth.call("GET", f"{USERS}/me", caller=caller)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "id": made["id"],
        "username": made["username"],
        "email": None,
        "roles": ["analyst", "clinician"],
        "scopes": [
            "bqat:read", "bqat:write", "chexray:read", "chexray:write", "netra:read", "netra:write",
        ],
    }  # fmt: skip


async def test_an_administrator_makes_an_account(auth: Auth) -> None:
    answer = await auth.call(
        "POST",
        USERS,
        caller=await auth.administrator(),
        json={
            "username": "dr.grant",
            "password": PASSWORD,
            "email": "grant@example.org",
            "roles": ["clinician"],
        },
    )

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{USERS}/{body['id']}"
    assert body["email"] == "grant@example.org"
    assert body["disabled"] is False
    assert "password" not in answer.text
    assert (await auth.log_in("dr.grant"))["access_token"]


async def test_a_user_name_is_given_once(auth: Auth) -> None:
    made = await auth.add_user()
    answer = await auth.call(
        "POST",
        USERS,
        caller=await auth.administrator(),
        json={"username": made["username"], "password": PASSWORD, "roles": []},
    )

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/username-taken"


async def test_user_names_differ_by_case(auth: Auth) -> None:
    """As on the old wire, where bob and BOB are two people."""
    await auth.add_user(username="bob")
    await auth.add_user(username="BOB")

    assert (await auth.log_in("BOB"))["access_token"]


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"password": "short"}, "password-too-short"),
        ({"password": "password1234"}, "password-too-common"),
        ({"password": "x" * 1025}, "password-too-long"),
        ({"username": "two words"}, "username-invalid"),
        ({"username": "anonymous\x00"}, "username-invalid"),
        ({"username": ""}, "invalid-request"),
        ({"username": "x" * 151}, "invalid-request"),
        ({"roles": ["wizard"]}, "invalid-request"),
        ({"roles": ["device"]}, "invalid-request"),
        ({"roles": ["anonymous"]}, "invalid-request"),
        ({"email": "not an address"}, "invalid-request"),
        ({"email": "a\r\n@b"}, "invalid-request"),
        ({"password": None}, "invalid-request"),
    ],
)
async def test_an_account_that_cannot_be_is_422(
    auth: Auth, change: dict[str, Any], slug: str
) -> None:
    new = {"username": "somebody", "password": PASSWORD, "roles": ["clinician"], **change}
    answer = await auth.call("POST", USERS, caller=await auth.administrator(), json=new)

    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{slug}"
    assert PASSWORD not in answer.text


async def test_the_name_of_the_platforms_own_account_is_taken(auth: Auth) -> None:
    answer = await auth.call(
        "POST",
        USERS,
        caller=await auth.administrator(),
        json={"username": "anonymous", "password": PASSWORD, "roles": []},
    )

    assert answer.status_code == 409


async def test_nobody_logs_in_as_anonymous(auth: Auth) -> None:
    answer = await auth.grant(grant_type="password", username="anonymous", password="anonymous")

    assert answer.status_code == 400


async def test_the_platforms_own_account_is_not_shown_or_changed(auth: Auth) -> None:
    admin = await auth.administrator()
    listed = await auth.call("GET", f"{USERS}?limit=100", caller=admin)
    read = await auth.call("GET", f"{USERS}/{ANONYMOUS_ID}", caller=admin)
    changed = await auth.change_user(str(ANONYMOUS_ID), password=NEW_PASSWORD)

    assert str(ANONYMOUS_ID) not in listed.text
    assert read.status_code == 404
    assert changed.status_code == 404


async def test_accounts_are_listed_in_pages(fresh_auth: Auth) -> None:
    names = []
    for _ in range(5):
        fresh_auth.clock.advance(seconds=1)
        names.append((await fresh_auth.add_user())["username"])
    admin = await fresh_auth.administrator()
    first = (await fresh_auth.call("GET", f"{USERS}?limit=4", caller=admin)).json()
    rest = (
        await fresh_auth.call("GET", f"{USERS}?limit=4&cursor={first['next_cursor']}", caller=admin)
    ).json()

    assert [user["username"] for user in first["items"]] == [ADMIN, *names[:3]]
    assert [user["username"] for user in rest["items"]] == names[3:]
    assert rest["next_cursor"] is None


async def test_roles_can_be_changed(auth: Auth) -> None:
    made = await auth.add_user()
    answer = await auth.change_user(made["id"], roles=["developer"], email="d@example.org")

    assert answer.status_code == 200
    assert answer.json()["roles"] == ["developer"]
    assert answer.json()["email"] == "d@example.org"
    claims = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    assert claims.scopes == {"scancer:predict", "scancer:read"}


async def test_a_session_goes_on_with_its_new_roles(auth: Auth) -> None:
    """Who gets a role need not log in again: the next refresh has it."""
    made = await auth.add_user()
    tokens = await auth.log_in(made["username"])
    await auth.change_user(made["id"], roles=["operator"])
    renewed = await auth.refresh(tokens["refresh_token"])

    assert (await auth.claims(renewed.json()["access_token"])).roles == ("operator",)


async def test_a_disabled_account_can_neither_log_in_nor_refresh(auth: Auth) -> None:
    made = await auth.add_user()
    tokens = await auth.log_in(made["username"])
    await auth.change_user(made["id"], disabled=True)

    refused = await auth.grant(grant_type="password", username=made["username"], password=PASSWORD)
    assert refused.status_code == 400
    assert (await auth.refresh(tokens["refresh_token"])).status_code == 400


async def test_an_enabled_account_can_log_in_again(auth: Auth) -> None:
    made = await auth.add_user()
    await auth.change_user(made["id"], disabled=True)
    answer = await auth.change_user(made["id"], disabled=False)

    assert answer.json()["disabled"] is False
    assert (await auth.log_in(made["username"]))["access_token"]


async def test_a_new_password_replaces_the_old_one(auth: Auth) -> None:
    made = await auth.add_user()
    tokens = await auth.log_in(made["username"])
    await auth.change_user(made["id"], password=NEW_PASSWORD)

    old = await auth.grant(grant_type="password", username=made["username"], password=PASSWORD)
    assert old.status_code == 400
    assert (await auth.refresh(tokens["refresh_token"])).status_code == 400
    assert (await auth.log_in(made["username"], NEW_PASSWORD))["access_token"]


async def test_a_person_changes_the_own_password(auth: Auth) -> None:
    made = await auth.add_user()
    caller = await auth.caller((await auth.log_in(made["username"]))["access_token"])
    answer = await auth.call(
        "POST",
        f"{USERS}/me/password",
        caller=caller,
        json={"current_password": PASSWORD, "new_password": NEW_PASSWORD},
    )

    assert answer.status_code == 204
    assert (await auth.log_in(made["username"], NEW_PASSWORD))["access_token"]


async def test_the_own_password_is_changed_only_by_who_knows_it(auth: Auth) -> None:
    """403: at a 401 clients would drop a session whose token is good."""
    caller = await auth.sign_in_new_user()
    answer = await auth.call(
        "POST",
        f"{USERS}/me/password",
        caller=caller,
        json={"current_password": "something else", "new_password": NEW_PASSWORD},
    )

    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/wrong-password"
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("change", [{"roles": ["clinician"]}, {"disabled": True}, {"roles": []}])
async def test_the_last_administrator_stays(fresh_auth: Auth, change: dict[str, Any]) -> None:
    admin = await fresh_auth.administrator()
    answer = await fresh_auth.change_user(admin.subject, **change)

    assert answer.status_code == 409
    assert (await fresh_auth.log_in())["access_token"]


async def test_an_account_that_does_not_exist_is_404(auth: Auth) -> None:
    nobody = "01900000-0000-7000-8000-00000000dead"
    admin = await auth.administrator()

    assert (await auth.call("GET", f"{USERS}/{nobody}", caller=admin)).status_code == 404
    assert (await auth.change_user(nobody, disabled=True)).status_code == 404
