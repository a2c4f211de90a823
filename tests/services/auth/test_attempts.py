"""Login limits: per address, per account, and what they leave alone."""

import base64
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from services.auth.attempts import FREE_FAILURES, delay_after, network_of
from shared.assertions import Caller
from tests.services.auth.rig import ADMIN, PASSWORD, Auth, Clock, running_auth


async def guess(auth: Auth, username: str, address: str | None = None) -> int:
    """Try a wrong password; the status of the answer."""
    answer = await auth.grant(
        address, grant_type="password", username=username, password="a wrong password"
    )
    return answer.status_code


async def log_in(auth: Auth, username: str, address: str | None = None) -> int:
    """Try the right password; the status of the answer."""
    answer = await auth.grant(address, grant_type="password", username=username, password=PASSWORD)
    return answer.status_code


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (10, 32), (14, 512), (15, 900), (10**9, 900)],
)
def test_the_delay_doubles_up_to_a_quarter_of_an_hour(failures: int, seconds: int) -> None:
    assert delay_after(failures) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
        ("x" * 100, "x" * 64),
    ],
)
def test_one_party_is_one_ipv4_address_or_one_ipv6_network(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_s30_an_address_has_ten_logins_a_minute(fresh_auth: Auth) -> None:
    statuses = [await log_in(fresh_auth, ADMIN, "192.0.2.1") for _ in range(11)]
    refused = await fresh_auth.grant(
        "192.0.2.1", grant_type="password", username=ADMIN, password=PASSWORD
    )

    assert statuses == [200] * 10 + [429]
    assert refused.headers["retry-after"] == "6"
    assert refused.json()["type"] == "/problems/too-many-attempts"
    assert await log_in(fresh_auth, ADMIN, "192.0.2.2") == 200
    fresh_auth.clock.advance(seconds=6)
    assert await log_in(fresh_auth, ADMIN, "192.0.2.1") == 200


async def test_s30_guessing_slows_down_even_from_many_addresses(fresh_auth: Auth) -> None:
    statuses = [await guess(fresh_auth, ADMIN) for _ in range(FREE_FAILURES + 1)]

    assert statuses == [400] * FREE_FAILURES + [429]


async def test_s30_a_right_password_is_not_told_apart_during_the_delay(fresh_auth: Auth) -> None:
    for _ in range(FREE_FAILURES):
        await guess(fresh_auth, ADMIN)

    assert await log_in(fresh_auth, ADMIN) == 429
    fresh_auth.clock.advance(seconds=1)
    assert await log_in(fresh_auth, ADMIN) == 200


async def test_s30_nobody_locks_the_owner_out_from_the_usual_address(fresh_auth: Auth) -> None:
    await log_in(fresh_auth, ADMIN, "192.0.2.77")
    for _ in range(20):
        await guess(fresh_auth, ADMIN)

    assert await log_in(fresh_auth, ADMIN) == 429
    assert await log_in(fresh_auth, ADMIN, "192.0.2.77") == 200


async def test_s30_guesses_from_a_known_address_are_slowed_down_too(fresh_auth: Auth) -> None:
    await log_in(fresh_auth, ADMIN, "192.0.2.77")
    for _ in range(FREE_FAILURES):
        await guess(fresh_auth, ADMIN, "192.0.2.77")

    assert await log_in(fresh_auth, ADMIN, "192.0.2.77") == 429
    assert await log_in(fresh_auth, ADMIN) == 200


async def test_s30_guesses_in_parallel_are_counted_one_by_one(fresh_auth: Auth) -> None:
    statuses: list[int] = []

    async def try_one() -> None:
        statuses.append(await guess(fresh_auth, ADMIN))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(try_one)

    assert sorted(statuses) == [400] * FREE_FAILURES + [429] * (20 - FREE_FAILURES)


async def test_s30_a_name_that_nobody_has_is_limited_alike(fresh_auth: Auth) -> None:
    """Otherwise the limit would tell which accounts exist."""
    statuses = [await guess(fresh_auth, "nobody") for _ in range(FREE_FAILURES + 1)]

    assert statuses == [400] * FREE_FAILURES + [429]


async def test_s30_failures_do_not_add_up_for_ever(fresh_auth: Auth) -> None:
    for _ in range(FREE_FAILURES - 1):
        await guess(fresh_auth, ADMIN)
    fresh_auth.clock.advance(days=2)
    for _ in range(FREE_FAILURES - 1):
        assert await guess(fresh_auth, ADMIN) == 400

    assert await log_in(fresh_auth, ADMIN) == 200


async def test_s30_limits_survive_a_restart(scratch_database: str, tmp_path: Path) -> None:
    clock = Clock()
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        for _ in range(11):
            await guess(auth, "nobody-1", "192.0.2.1")
        for _ in range(FREE_FAILURES):
            await guess(auth, ADMIN)
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        assert await log_in(auth, "somebody-else", "192.0.2.1") == 429
        assert await log_in(auth, ADMIN) == 429


async def test_s30_replicas_share_the_limits(scratch_database: str, tmp_path: Path) -> None:
    clock = Clock()
    async with (
        running_auth(scratch_database, tmp_path, clock=clock) as one,
        running_auth(scratch_database, tmp_path, clock=clock) as two,
    ):
        for auth in (one, two) * 5:
            await log_in(auth, ADMIN, "192.0.2.1")

        assert await log_in(one, ADMIN, "192.0.2.1") == 429


async def test_the_scale_switches_limits_off(scratch_database: str, tmp_path: Path) -> None:
    async with running_auth(scratch_database, tmp_path, rate_limit_scale=0.0) as auth:
        statuses = {await guess(auth, ADMIN, "192.0.2.1") for _ in range(15)}

        assert statuses == {400}
        assert await log_in(auth, ADMIN, "192.0.2.1") == 200


async def test_the_scale_multiplies_the_rate(scratch_database: str, tmp_path: Path) -> None:
    async with running_auth(scratch_database, tmp_path, rate_limit_scale=2.0) as auth:
        statuses = [await log_in(auth, ADMIN, "192.0.2.1") for _ in range(21)]

        assert statuses == [200] * 20 + [429]


async def test_a_basic_client_that_is_right_is_not_limited(fresh_auth: Auth) -> None:
    """It sends its password with every request; only failures are charged to its address."""
    credential = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
    question = {"scheme": "basic", "credential": credential, "address": "192.0.2.1"}
    statuses = {
        (await fresh_auth.ask("/internal/introspect", question, service="gateway")).status_code
        for _ in range(15)
    }

    assert statuses == {200}


async def test_refreshing_costs_no_login(fresh_auth: Auth) -> None:
    tokens = await fresh_auth.log_in(address="192.0.2.1")
    for _ in range(15):
        answer = await fresh_auth.grant(
            "192.0.2.1", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )
        assert answer.status_code == 200
        tokens = answer.json()


async def test_s30_who_signed_up_is_not_locked_out_where_they_did(fresh_auth: Auth) -> None:
    question = {"api": "chexray", "username": "bob", "password": PASSWORD}
    for path in ("/internal/legacy/sign-up", *["/internal/legacy/login"] * 2):
        answer = await fresh_auth.ask(path, {**question, "address": "192.0.2.77"})
        assert answer.status_code < 300
        for _ in range(FREE_FAILURES + 1):
            await guess(fresh_auth, "bob")


async def test_signing_up_costs_no_login(fresh_auth: Auth) -> None:
    """How often an address may sign up is the gateway's to say."""
    for number in range(12):
        answer = await fresh_auth.ask(
            "/internal/legacy/sign-up",
            {"api": "chexray", "username": f"bob-{number}", "password": PASSWORD,
             "address": "192.0.2.1"},
        )  # fmt: skip
        assert answer.status_code == 201


async def change_password(
    auth: Auth, caller: Caller, current: str, address: str | None = None
) -> httpx.Response:
    """Change the own password to the one that it is."""
    return await auth.call(
        "POST",
        "/api/v2/auth/users/me/password",
        caller=caller,
        address=address,
        json={"current_password": current, "new_password": PASSWORD},
    )


async def test_s30_a_stolen_token_is_no_place_to_guess_the_password_at(auth: Auth) -> None:
    """Not even from the address where its owner signs in, which has delays of its own."""
    made = await auth.add_user()
    tokens = await auth.log_in(made["username"], address="192.0.2.40")
    caller = await auth.caller(tokens["access_token"])
    for address in (None, "192.0.2.40"):
        answers = [
            await change_password(auth, caller, "a wrong password", address)
            for _ in range(FREE_FAILURES + 1)
        ]

        assert [answer.status_code for answer in answers] == [403] * FREE_FAILURES + [429]
        assert answers[-1].json()["type"] == "/problems/too-many-attempts"
        assert answers[-1].headers["retry-after"] == "1"
    assert (await change_password(auth, caller, PASSWORD)).status_code == 429
    auth.clock.advance(seconds=1)
    assert (await change_password(auth, caller, PASSWORD)).status_code == 204


async def test_s30_wrong_passwords_of_logins_and_of_changes_are_counted_together(
    auth: Auth,
) -> None:
    made = await auth.add_user()
    caller = await auth.caller((await auth.log_in(made["username"]))["access_token"])
    for _ in range(FREE_FAILURES - 1):
        await change_password(auth, caller, "a wrong password")

    assert await guess(auth, made["username"]) == 400
    assert await log_in(auth, made["username"]) == 429
    assert (await change_password(auth, caller, PASSWORD)).status_code == 429


async def test_s30_an_address_has_ten_password_changes_a_minute(auth: Auth) -> None:
    callers = [await auth.sign_in_new_user() for _ in range(3)]
    answers = [
        await change_password(auth, caller, "a wrong password", "192.0.2.50")
        for caller in callers
        for _ in range(4)
    ]

    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2


async def test_s30_a_password_that_is_guessed_at_is_seen_in_the_audit_log(
    fresh_auth: Auth,
) -> None:
    caller = await fresh_auth.sign_in_new_user()
    await change_password(fresh_auth, caller, "a wrong password", "192.0.2.60")
    [event] = await fresh_auth.events("password_change_failed")

    assert (event["actor"], event["subject"]) == (caller.subject, caller.subject)
    assert event["address"] == "192.0.2.60"
    assert "wrong password" not in str(event)


async def test_a_right_password_forgets_the_wrong_ones_before_it(auth: Auth) -> None:
    caller = await auth.sign_in_new_user()
    for _ in range(2):
        for _ in range(FREE_FAILURES - 1):
            await change_password(auth, caller, "a wrong password", "192.0.2.70")
        auth.clock.advance(minutes=1)
        answer = await change_password(auth, caller, PASSWORD, "192.0.2.70")

        assert answer.status_code == 204
