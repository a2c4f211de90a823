"""One's own API keys and sessions over the wire."""

from datetime import timedelta
from typing import Any

import pytest

from tests.services.auth.rig import PASSWORD, Auth

KEYS = "/api/v2/auth/api-keys"
SESSIONS = "/api/v2/auth/sessions"


async def introspect(auth: Auth, key: str) -> Any:
    """What auth tells the gateway about an API key."""
    return await auth.ask(
        "/internal/introspect", {"scheme": "api-key", "credential": key}, service="gateway"
    )


async def test_an_api_key_is_shown_once(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    made = await auth.call(
        "POST", KEYS, caller=caller, json={"name": "night batch", "scopes": ["chexray:read"]}
    )
    listed = await auth.call("GET", KEYS, caller=caller)

    key = made.json().pop("key")
    assert made.status_code == 201
    assert key.startswith("vdt_")
    assert made.json()["hint"] == key[-4:]
    assert key not in listed.text
    assert [item["name"] for item in listed.json()["items"]] == ["night batch"]


async def test_an_api_key_speaks_for_its_owner(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    made = await auth.call(
        "POST", KEYS, caller=caller, json={"name": "k", "scopes": ["chexray:read"]}
    )
    answer = await introspect(auth, made.json()["key"])

    assert answer.json() == {
        "subject": caller.subject,
        "kind": "user",
        "username": caller.username,
        "roles": ["clinician"],
        "scopes": ["chexray:read"],
        "token_id": made.json()["id"],
        "session_id": None,
        "expires_at": None,
    }


async def test_an_api_key_remembers_when_it_was_used(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    made = await auth.call("POST", KEYS, caller=caller, json={"name": "k", "scopes": []})
    assert made.json()["last_used_at"] is None
    await introspect(auth, made.json()["key"])
    listed = await auth.call("GET", KEYS, caller=caller)

    assert listed.json()["items"][0]["last_used_at"] is not None


async def test_an_api_key_cannot_do_more_than_its_owner(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    answer = await auth.call(
        "POST", KEYS, caller=caller, json={"name": "k", "scopes": ["chexray:read", "users:admin"]}
    )

    assert answer.status_code == 422
    assert answer.json()["scopes"] == ["users:admin"]


async def test_an_api_key_loses_what_its_owner_loses(auth: Auth) -> None:
    caller = await auth.sign_in_new_user("clinician", "analyst")
    made = await auth.call(
        "POST", KEYS, caller=caller, json={"name": "k", "scopes": ["bqat:read", "chexray:read"]}
    )
    await auth.change_user(caller.subject, roles=["clinician"])

    assert (await introspect(auth, made.json()["key"])).json()["scopes"] == ["chexray:read"]


async def test_an_api_key_of_a_disabled_account_is_refused(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    made = await auth.call("POST", KEYS, caller=caller, json={"name": "k", "scopes": []})
    await auth.change_user(caller.subject, disabled=True)

    assert (await introspect(auth, made.json()["key"])).status_code == 401


async def test_an_api_key_ends_when_it_was_to_end(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    end = (auth.clock.now + timedelta(hours=1)).isoformat()
    made = await auth.call(
        "POST", KEYS, caller=caller, json={"name": "k", "scopes": [], "expires_at": end}
    )
    before = await introspect(auth, made.json()["key"])
    auth.clock.advance(hours=1)
    after = await introspect(auth, made.json()["key"])

    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_revoked_api_key_is_refused(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    made = await auth.call("POST", KEYS, caller=caller, json={"name": "k", "scopes": []})
    revoked = await auth.call("DELETE", f"{KEYS}/{made.json()['id']}", caller=caller)
    again = await auth.call("DELETE", f"{KEYS}/{made.json()['id']}", caller=caller)

    assert (revoked.status_code, again.status_code) == (204, 404)
    assert (await introspect(auth, made.json()["key"])).status_code == 401


@pytest.mark.parametrize(
    "new",
    [
        {"scopes": []},
        {"name": "", "scopes": []},
        {"name": "a\nb", "scopes": []},
        {"name": "x" * 101, "scopes": []},
        {"name": "k", "scopes": ["everything"]},
        {"name": "k", "scopes": ["chexray:read"] * 65},
        {"name": "k", "scopes": [], "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "k", "scopes": [], "expires_at": "2099-01-01T00:00:00"},
        {"name": "k", "scopes": [], "expires_at": "tomorrow"},
    ],
)
async def test_an_api_key_that_cannot_be_is_422(auth: Auth, new: dict[str, Any]) -> None:
    answer = await auth.call("POST", KEYS, caller=await auth.administrator(), json=new)

    assert answer.status_code == 422


async def test_api_keys_are_listed_in_pages(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    for number in range(3):
        auth.clock.advance(seconds=1)
        await auth.call("POST", KEYS, caller=caller, json={"name": f"k{number}", "scopes": []})
    first = (await auth.call("GET", f"{KEYS}?limit=2", caller=caller)).json()
    rest = (
        await auth.call("GET", f"{KEYS}?limit=2&cursor={first['next_cursor']}", caller=caller)
    ).json()

    assert [key["name"] for key in first["items"] + rest["items"]] == ["k0", "k1", "k2"]
    assert rest["next_cursor"] is None


async def test_a_hundred_api_keys_are_enough(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    for _ in range(100):
        await auth.call("POST", KEYS, caller=caller, json={"name": "k", "scopes": []})
    answer = await auth.call("POST", KEYS, caller=caller, json={"name": "k", "scopes": []})

    assert answer.status_code == 409


async def test_a_person_sees_where_they_are_signed_in(auth: Auth) -> None:
    made = await auth.add_user()
    await auth.log_in(made["username"], address="203.0.113.7")
    auth.clock.advance(seconds=1)
    await auth.ask(
        "/internal/legacy/login",
        {"api": "chexray", "username": made["username"], "password": PASSWORD},
    )
    auth.clock.advance(seconds=1)
    caller = await auth.caller((await auth.log_in(made["username"]))["access_token"])
    listed = (await auth.call("GET", SESSIONS, caller=caller)).json()["items"]

    assert [(item["kind"], item["api"], item["current"]) for item in listed] == [
        ("modern", None, True),
        ("legacy", "chexray", False),
        ("modern", None, False),
    ]
    assert listed[2]["address"] == "203.0.113.7"


async def test_a_person_ends_a_session(auth: Auth) -> None:
    made = await auth.add_user()
    lost = await auth.log_in(made["username"])
    caller = await auth.caller((await auth.log_in(made["username"]))["access_token"])
    session_id = (await auth.caller(lost["access_token"])).session_id
    ended = await auth.call("DELETE", f"{SESSIONS}/{session_id}", caller=caller)
    again = await auth.call("DELETE", f"{SESSIONS}/{session_id}", caller=caller)

    assert (ended.status_code, again.status_code) == (204, 404)
    assert (await auth.refresh(lost["refresh_token"])).status_code == 400
