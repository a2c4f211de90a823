"""Attacks 19 to 27: stolen, repeated and left-over tokens."""

import asyncio
import itertools
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest

from services.auth.app import assertion_verifier, create_app, resources
from services.auth.domain import FURTHEST_AHEAD, LEGACY_APIS, UserId
from services.auth.errors import WrongCredentials
from shared.assertions import Refusal
from shared.revocations import Revocation, Revocations
from shared.tokens import Claims, TokenRefused, TokenType
from tests.services.auth.rig import NEW_PASSWORD, PASSWORD, Auth

ALL_TYPES = [type_ for type_ in TokenType if type_ is not TokenType.REFRESH]

#: What takes effect on tokens, whichever of them comes first.
CHANGES: list[dict[str, Any]] = [
    {"roles": ["developer"]},
    {"roles": ["analyst"]},
    {"password": NEW_PASSWORD},
    {"disabled": True},
]


class Listener:
    """A gateway's view of revocations: what it hears, and how soon."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._heard: asyncio.Queue[Revocation] = asyncio.Queue()
        revocations.on_revoked(self._heard.put_nowait)

    async def refusal(self, claims: Claims) -> Refusal | None:
        """Why a token is refused once the next revocation has come, within a second."""
        await asyncio.wait_for(self._heard.get(), 1)
        return self._revocations.refusal(claims)


async def test_s19_a_refresh_token_used_again_later_ends_the_whole_family(
    fresh_auth: Auth,
) -> None:
    first = await fresh_auth.log_in()
    second = (await fresh_auth.refresh(first["refresh_token"])).json()
    claims = await fresh_auth.claims(second["access_token"])
    async with Revocations.listen(fresh_auth.database_url) as revocations:
        listener = Listener(revocations)
        fresh_auth.clock.advance(seconds=10.1)
        stolen = await fresh_auth.refresh(first["refresh_token"])

        assert stolen.status_code == 400
        assert await listener.refusal(claims) is Refusal.REVOKED
    assert (await fresh_auth.refresh(second["refresh_token"])).status_code == 400
    events = await fresh_auth.events("refresh_token_reused")
    assert [event["subject"] for event in events] == [claims.session_id]


async def test_s19_a_family_that_ended_says_so_once(fresh_auth: Auth) -> None:
    first = await fresh_auth.log_in()
    await fresh_auth.refresh(first["refresh_token"])
    fresh_auth.clock.advance(seconds=11)
    for _ in range(3):
        await fresh_auth.refresh(first["refresh_token"])

    assert len(await fresh_auth.events("refresh_token_reused")) == 1


async def test_s20_fifty_refreshes_at_once_make_one_successor(auth: Auth) -> None:
    tokens = await auth.log_in()
    answers: list[dict[str, Any]] = []

    async def refresh() -> None:
        answer = await auth.refresh(tokens["refresh_token"])
        assert answer.status_code == 200
        answers.append(answer.json())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(refresh)

    assert len(answers) == 50
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 1
    assert (await auth.refresh(answers[0]["refresh_token"])).status_code == 200


@pytest.mark.parametrize("seconds", [0, 5, 10])
async def test_s21_a_repeated_refresh_gets_the_same_answer(auth: Auth, seconds: int) -> None:
    tokens = await auth.log_in()
    first = await auth.refresh(tokens["refresh_token"])
    auth.clock.advance(seconds=seconds)
    again = await auth.refresh(tokens["refresh_token"])

    assert again.json() == first.json()


async def test_s22_two_devices_are_two_families(auth: Auth) -> None:
    one, two = await auth.log_in(), await auth.log_in()
    await auth.call("POST", "/api/v2/auth/revoke", json={"token": one["refresh_token"]})

    assert (await auth.refresh(one["refresh_token"])).status_code == 400
    assert (await auth.refresh(two["refresh_token"])).status_code == 200


async def test_s22_reuse_in_one_family_leaves_the_other_alone(auth: Auth) -> None:
    one, two = await auth.log_in(), await auth.log_in()
    await auth.refresh(one["refresh_token"])
    auth.clock.advance(seconds=11)
    await auth.refresh(one["refresh_token"])

    assert (await auth.refresh(two["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": NEW_PASSWORD}, Refusal.REVOKED),
        ({"roles": ["developer"]}, Refusal.REVOKED),
        ({"disabled": True}, Refusal.INACTIVE),
    ],
)
async def test_s23_what_changes_an_account_refuses_its_tokens_within_a_second(
    auth: Auth, change: dict[str, Any], reason: Refusal
) -> None:
    made = await auth.add_user()
    claims = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], **change)

        assert await listener.refusal(claims) is reason


async def test_s23_tokens_of_old_apis_are_refused_as_well(auth: Auth) -> None:
    made = await auth.add_user()
    login = await auth.ask(
        "/internal/legacy/login",
        {"api": "chexray", "username": made["username"], "password": PASSWORD},
    )
    claims = await auth.claims(login.json()["token"], TokenType.LEGACY, "chexray")
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], disabled=True)

        assert await listener.refusal(claims) is Refusal.INACTIVE


async def test_s23_a_login_right_after_the_change_is_good(auth: Auth) -> None:
    """In the same second: what was issued after a revocation is not refused with the rest."""
    made = await auth.add_user()
    before = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], password=NEW_PASSWORD)
        after = await auth.log_in(made["username"], NEW_PASSWORD)

        assert await listener.refusal(before) is Refusal.REVOKED
        assert revocations.refusal(await auth.claims(after["access_token"])) is None


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(CHANGES, 2)))
async def test_s23_of_two_changes_in_one_second_both_are_announced(
    auth: Auth, first: dict[str, Any], second: dict[str, Any]
) -> None:
    made = await auth.add_user()
    claims = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], **first)
        assert await listener.refusal(claims) is not None
        await auth.change_user(made["id"], **second)

        assert await listener.refusal(claims) is not None


async def test_s23_who_logs_in_after_a_change_is_disabled_in_the_same_second(auth: Auth) -> None:
    made = await auth.add_user()
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], roles=["developer"])
        access = await auth.claims((await auth.log_in(made["username"]))["access_token"])
        assert await listener.refusal(access) is None
        await auth.change_user(made["id"], disabled=True)

        assert await listener.refusal(access) is Refusal.INACTIVE


async def test_s23_who_is_disabled_and_enabled_in_one_second_logs_in_at_once(auth: Auth) -> None:
    made = await auth.add_user()
    before = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], disabled=True)
        assert await listener.refusal(before) is Refusal.INACTIVE
        await auth.change_user(made["id"], disabled=False)
        assert await listener.refusal(before) is Refusal.REVOKED
        after = await auth.log_in(made["username"])
        renewed = (await auth.refresh(after["refresh_token"])).json()

        assert revocations.refusal(await auth.claims(after["access_token"])) is None
        assert revocations.refusal(await auth.claims(renewed["access_token"])) is None


async def test_s23_a_password_replaced_twice_in_one_second_leaves_nothing_of_the_one_between(
    auth: Auth,
) -> None:
    made = await auth.add_user()
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.change_user(made["id"], password=NEW_PASSWORD)
        between = await auth.log_in(made["username"], NEW_PASSWORD)
        claims = await auth.claims(between["access_token"])
        assert await listener.refusal(claims) is None
        await auth.change_user(made["id"], password=PASSWORD)

        assert await listener.refusal(claims) is Refusal.REVOKED
        assert (await auth.refresh(between["refresh_token"])).status_code == 400
        after = await auth.claims((await auth.log_in(made["username"]))["access_token"])
        assert revocations.refusal(after) is None


async def test_s23_a_password_replaced_while_disabled_is_good_once_enabled(auth: Auth) -> None:
    """All within one second, and a gateway that starts afterwards reads the same."""
    made = await auth.add_user()
    before = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    await auth.change_user(made["id"], disabled=True)
    await auth.change_user(made["id"], password=NEW_PASSWORD)
    async with Revocations.listen(auth.database_url) as revocations:
        assert revocations.refusal(before) is Refusal.INACTIVE
    await auth.change_user(made["id"], disabled=False)
    after = await auth.claims((await auth.log_in(made["username"], NEW_PASSWORD))["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        assert revocations.refusal(before) is Refusal.REVOKED
        assert revocations.refusal(after) is None


async def test_s23_changes_without_end_wait_but_disabling_never_does(auth: Auth) -> None:
    """Each change dates the account's tokens a second further; doors allow a minute."""
    made = await auth.add_user()
    admin = await auth.administrator()

    async def change(**change: Any) -> httpx.Response:
        return await auth.call(
            "PATCH", f"/api/v2/auth/users/{made['id']}", caller=admin, json=change
        )

    seconds = int(FURTHEST_AHEAD.total_seconds())
    answers = [
        await change(roles=roles)
        for _, roles in zip(range(seconds), itertools.cycle([["analyst"], ["operator"]]))
    ]
    refused = await change(roles=["developer"])
    ahead = await auth.claims((await auth.log_in(made["username"]))["access_token"])
    disabled = await change(disabled=True)

    assert {answer.status_code for answer in answers} == {200}
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/changed-too-often"
    assert refused.headers["retry-after"] == "1"
    assert ahead.issued_at - int(auth.clock.now.timestamp()) == seconds
    assert disabled.status_code == 200
    assert (await change(disabled=False)).status_code == 429
    async with Revocations.listen(auth.database_url) as revocations:
        assert revocations.refusal(ahead) is Refusal.INACTIVE
        listener = Listener(revocations)
        auth.clock.advance(seconds=1)
        assert (await change(disabled=False)).status_code == 200
        assert await listener.refusal(ahead) is Refusal.REVOKED
    assert (await auth.log_in(made["username"]))["access_token"]


async def test_s23_a_login_does_not_outlast_a_second_change_in_its_second(auth: Auth) -> None:
    """The password was right when argon2 began; before the session opened it was replaced."""
    made = await auth.add_user()
    await auth.change_user(made["id"], roles=["clinician", "analyst"])
    app = create_app(None, assertion_verifier(auth.settings))
    async with resources(auth.settings, auth.clock)(app) as state:
        checked = await state["accounts"].get(UserId(UUID(made["id"])))
        await auth.change_user(made["id"], password=NEW_PASSWORD)

        with pytest.raises(WrongCredentials):
            await state["sign_in"].open_old_api(LEGACY_APIS["chexray"], checked, "192.0.2.9")


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_s23_a_revoked_token_is_refused_within_a_second(auth: Auth, which: str) -> None:
    tokens = await auth.log_in()
    claims = await auth.claims(tokens["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.call("POST", "/api/v2/auth/revoke", json={"token": tokens[which]})

        assert await listener.refusal(claims) is Refusal.REVOKED


async def test_s23_an_ended_session_is_refused_within_a_second(auth: Auth) -> None:
    caller = await auth.caller((lost := await auth.log_in())["access_token"])
    claims = await auth.claims(lost["access_token"])
    async with Revocations.listen(auth.database_url) as revocations:
        listener = Listener(revocations)
        await auth.call("DELETE", f"/api/v2/auth/sessions/{claims.session_id}", caller=caller)

        assert await listener.refusal(claims) is Refusal.REVOKED


async def test_s24_a_session_that_is_not_used_ends_after_seven_days(fresh_auth: Auth) -> None:
    idle, used = await fresh_auth.log_in(), await fresh_auth.log_in()
    fresh_auth.clock.advance(days=6)
    used = (await fresh_auth.refresh(used["refresh_token"])).json()
    fresh_auth.clock.advance(days=1, seconds=1)

    assert (await fresh_auth.refresh(idle["refresh_token"])).status_code == 400
    assert (await fresh_auth.refresh(used["refresh_token"])).status_code == 200


async def test_s24_a_session_ends_after_thirty_days_however_busy(fresh_auth: Auth) -> None:
    tokens = await fresh_auth.log_in()
    for _ in range(5):
        fresh_auth.clock.advance(days=5.9)
        tokens = (await fresh_auth.refresh(tokens["refresh_token"])).json()
    claims = await fresh_auth.claims(tokens["refresh_token"], TokenType.REFRESH, "auth")
    fresh_auth.clock.advance(days=0.5, seconds=1)

    assert claims.expires_at - claims.issued_at < 86_400
    assert (await fresh_auth.refresh(tokens["refresh_token"])).status_code == 400


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_s25_logging_out_twice_is_like_once(auth: Auth, which: str) -> None:
    tokens = await auth.log_in()
    statuses = [
        (await auth.call("POST", "/api/v2/auth/revoke", json={"token": tokens[which]})).status_code
        for _ in range(2)
    ]

    assert statuses == [204, 204]


@pytest.mark.parametrize("type_", ALL_TYPES)
async def test_s26_a_refresh_token_opens_nothing_but_the_token_endpoint(
    auth: Auth, type_: TokenType
) -> None:
    tokens = await auth.log_in()
    for audience in ("vedette", "auth", "chexray", "fleet"):
        with pytest.raises(TokenRefused):
            await auth.claims(tokens["refresh_token"], type_, audience)


@pytest.mark.parametrize("which", ["access_token", "legacy"])
async def test_s26_nothing_but_a_refresh_token_is_exchanged(auth: Auth, which: str) -> None:
    made = await auth.add_user()
    login = await auth.ask(
        "/internal/legacy/login",
        {"api": "chexray", "username": made["username"], "password": PASSWORD},
    )
    tokens = {**await auth.log_in(made["username"]), "legacy": login.json()["token"]}

    assert (await auth.refresh(tokens[which])).status_code == 400


async def test_s27_no_two_tokens_share_an_id(auth: Auth) -> None:
    tokens = await auth.log_in()
    ids = set()
    for _ in range(20):
        tokens = (await auth.refresh(tokens["refresh_token"])).json()
        access = await auth.claims(tokens["access_token"])
        renewal = await auth.claims(tokens["refresh_token"], TokenType.REFRESH, "auth")
        ids |= {access.token_id, renewal.token_id}

    assert len(ids) == 40
    assert all(len(bytes.fromhex(id_)) >= 16 for id_ in ids)
