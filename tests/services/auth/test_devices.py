"""Devices: what fleet asks, and what their tokens are good for."""

import itertools

import httpx
import pytest

from shared.assertions import HEADER, AssertionSigner, Caller
from shared.keys import read_key
from shared.tokens import TokenRefused, TokenType
from tests.services.auth.rig import Auth

REGISTER = "/internal/devices/register"
NUMBERS = itertools.count(1)


@pytest.fixture
def mac() -> str:
    """A network address that no other test has."""
    return f"dc:71:96:53:16:{next(NUMBERS):02x}"


def registration(name: str, **more: object) -> dict[str, object]:
    """What a device registers with."""
    return {"name": name, "password": "pass-of-truck", **more}


async def ask(auth: Auth, path: str, question: dict[str, object]) -> httpx.Response:
    """A question of fleet's that names no client."""
    signer = AssertionSigner("fleet", read_key(auth.keys_dir, "service-fleet"))
    assertion = signer.sign(Caller(subject="fleet", kind="service"), "auth")
    return await auth.client.post(path, json=question, headers={HEADER: assertion})


async def test_a_device_is_made_once_and_gets_a_new_token_each_time(auth: Auth, mac: str) -> None:
    answers = [await auth.ask(REGISTER, registration(mac), service="fleet") for _ in range(2)]

    bodies = [answer.json() for answer in answers]
    claims = await auth.claims(bodies[1]["token"], TokenType.DEVICE, "fleet")
    assert [answer.status_code for answer in answers] == [201, 200]
    assert bodies[0]["device_id"] == bodies[1]["device_id"] == claims.subject
    assert claims.kind == "device"
    assert claims.scopes == {"fleet:ingest"}
    assert claims.expires_at - claims.issued_at == 30 * 86_400


async def test_s34_a_name_with_another_password_takes_nothing_over(auth: Auth, mac: str) -> None:
    await auth.ask(REGISTER, registration(mac), service="fleet")
    answer = await auth.ask(REGISTER, registration(mac, password="other-pass"), service="fleet")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/device-taken"
    assert "token" not in answer.json()


async def test_s33_guessing_a_devices_password_slows_down(auth: Auth, mac: str) -> None:
    await auth.ask(REGISTER, registration(mac), service="fleet")
    statuses = [
        (
            await auth.ask(REGISTER, registration(mac, password=f"guess-{n}-x"), service="fleet")
        ).status_code
        for n in range(12)
    ]

    assert statuses[0] == 409
    assert statuses[-1] == 429


async def test_a_device_that_may_not_be_made_is_unknown(auth: Auth, mac: str) -> None:
    answer = await auth.ask(REGISTER, registration(mac, may_create=False), service="fleet")

    assert answer.status_code == 404


@pytest.mark.parametrize("service", ["chexray", "netra"])
async def test_only_fleet_has_devices(auth: Auth, mac: str, service: str) -> None:
    answer = await auth.ask(REGISTER, registration(mac), service=service)

    assert answer.status_code == 403


async def test_s34_a_devices_token_is_no_other_kind_of_token(auth: Auth, mac: str) -> None:
    made = await auth.ask(REGISTER, registration(mac), service="fleet")
    token = made.json()["token"]

    for type_, audience in (
        (TokenType.ACCESS, "vedette"),
        (TokenType.LEGACY, "fleet"),
        (TokenType.REFRESH, "auth"),
        (TokenType.DEVICE, "chexray"),
    ):
        with pytest.raises(TokenRefused):
            await auth.claims(token, type_, audience)


async def test_an_enrolled_device_gets_short_tokens_until_it_is_disabled(
    auth: Auth, mac: str
) -> None:
    made = await auth.ask("/internal/devices/enrol", {}, service="fleet")
    device = {"device_id": made.json()["device_id"]}
    token = await ask(auth, "/internal/devices/token", device)
    changed = await ask(
        auth, "/internal/devices/change", {**device, "disabled": True, "actor": "x"}
    )
    refused = await ask(auth, "/internal/devices/token", device)
    password = await auth.ask(REGISTER, registration(mac, may_create=False), service="fleet")

    assert token.json()["expires_in"] == 3600
    assert (changed.status_code, refused.status_code) == (204, 401)
    assert password.status_code == 404


async def test_an_old_api_changes_the_accounts_it_made_and_no_others(auth: Auth) -> None:
    signed_up = await auth.ask(
        "/internal/legacy/sign-up",
        {"api": "fleet", "username": "miner", "password": "eight-ch"},
        service="fleet",
    )
    other = await auth.add_user("admin")
    change = {"api": "fleet", "password": "another-one", "actor": "x"}
    own = await auth.ask(
        "/internal/legacy/change", {**change, "user_id": signed_up.json()["user_id"]},
        service="fleet",
    )  # fmt: skip
    foreign = await auth.ask(
        "/internal/legacy/change", {**change, "user_id": other["id"]}, service="fleet"
    )

    assert own.status_code == 200
    assert (await auth.log_in("miner", "another-one"))["access_token"]
    assert foreign.status_code == 403
    assert foreign.json()["type"] == "/problems/not-of-this-api"
