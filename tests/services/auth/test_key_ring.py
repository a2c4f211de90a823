"""The signing keys: next, active, retired, and the way from one to the other."""

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from services.auth.key_ring import OVERLAP, KeyWrapping
from shared.keys import WeakKey
from shared.tokens import KeySet, TokenDoor, TokenRefused, TokenType
from tests.forging import rsa_key
from tests.services.auth.rig import Auth, Clock, running_auth

KEYS = "/api/v2/auth/keys"


async def states(auth: Auth) -> dict[str, str]:
    """Every published key's state by its id."""
    listed = await auth.call("GET", KEYS, caller=await auth.administrator())
    return {key["id"]: key["state"] for key in listed.json()["items"]}


async def rotate(auth: Auth) -> None:
    """Rotate as an administrator."""
    answer = await auth.call("POST", f"{KEYS}/rotate", caller=await auth.administrator())
    assert answer.status_code == 200


async def test_there_is_one_active_key_and_the_next_is_published(fresh_auth: Auth) -> None:
    published = await fresh_auth.call("GET", "/.well-known/jwks.json")
    found = await states(fresh_auth)

    assert sorted(found.values()) == ["active", "next"]
    assert {key["kid"] for key in published.json()["keys"]} == set(found)


async def test_the_next_key_becomes_active_and_the_active_one_retires(fresh_auth: Auth) -> None:
    before = {state: key_id for key_id, state in (await states(fresh_auth)).items()}
    await rotate(fresh_auth)
    after = await states(fresh_auth)

    assert after[before["next"]] == "active"
    assert after[before["active"]] == "retired"
    assert sorted(after.values()) == ["active", "next", "retired"]


async def test_s17_no_token_is_refused_across_a_rotation(fresh_auth: Auth) -> None:
    """A gateway that has fetched the keys before verifies what is signed after, and the reverse."""
    fetched_before = await fresh_auth.door()
    old = await fresh_auth.log_in()
    await rotate(fresh_auth)
    new = await fresh_auth.log_in()
    fetched_after = await fresh_auth.door()
    now = fresh_auth.clock.now.timestamp()
    verified = [
        door.verify(tokens["access_token"], type=TokenType.ACCESS, audience="vedette", now=now)
        for door in (fetched_before, fetched_after)
        for tokens in (old, new)
    ]

    assert len({claims.key_id for claims in verified}) == 2


async def test_a_session_goes_on_across_a_rotation(fresh_auth: Auth) -> None:
    tokens = await fresh_auth.log_in()
    await rotate(fresh_auth)

    assert (await fresh_auth.refresh(tokens["refresh_token"])).status_code == 200


async def test_s21_a_repeated_refresh_gets_the_same_answer_across_a_rotation(
    fresh_auth: Auth,
) -> None:
    tokens = await fresh_auth.log_in()
    first = await fresh_auth.refresh(tokens["refresh_token"])
    await rotate(fresh_auth)
    again = await fresh_auth.refresh(tokens["refresh_token"])

    assert again.json() == first.json()


async def test_s17_a_retired_key_ends_when_its_last_token_has(fresh_auth: Auth) -> None:
    answer = await fresh_auth.ask(
        "/internal/legacy/sign-up", {"api": "chexray", "username": "bob", "password": "eight-ch"}
    )
    token = answer.json()["token"]
    await rotate(fresh_auth)
    door = await fresh_auth.door()

    def verify(after: timedelta) -> str:
        now = (fresh_auth.clock.now + after).timestamp()
        key = door.keys.find(door.peek_key_id(token), now)
        return "known" if key is not None else "unknown"

    assert verify(timedelta(days=30)) == "known"
    assert verify(OVERLAP + timedelta(seconds=1)) == "unknown"


async def test_keys_rotate_by_themselves(scratch_database: str, tmp_path: Path) -> None:
    clock = Clock()
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        first = await states(auth)
    clock.advance(days=31)
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        second = await states(auth)

    assert sorted(second.values()) == ["active", "next", "retired"]
    assert {second[key_id] for key_id in first} == {"active", "retired"}


async def test_a_key_that_is_over_is_dropped(scratch_database: str, tmp_path: Path) -> None:
    clock = Clock()
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        first = await states(auth)
        await rotate(auth)
    clock.advance(seconds=(OVERLAP + timedelta(seconds=1)).total_seconds())
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        kept = await states(auth)

    assert len(set(first) & set(kept)) == 1


async def test_two_replicas_share_one_ring(scratch_database: str, tmp_path: Path) -> None:
    async with (
        running_auth(scratch_database, tmp_path) as one,
        running_auth(scratch_database, tmp_path) as two,
    ):
        assert await states(one) == await states(two)
        await rotate(one)
        # The other has not heard of it, and signs with a key that is still good.
        tokens = await two.log_in()

        assert await one.claims(tokens["access_token"])


async def test_rotation_stops_before_verifiers_refuse_the_set(fresh_auth: Auth) -> None:
    admin = await fresh_auth.administrator()
    answers = [
        (await fresh_auth.call("POST", f"{KEYS}/rotate", caller=admin)).status_code
        for _ in range(23)
    ]
    published = await fresh_auth.call("GET", "/.well-known/jwks.json")

    assert answers == [200] * 22 + [409]
    assert len(KeySet.from_jwks(published.json()).key_ids) == 24


async def test_private_keys_lie_encrypted_in_the_database(
    scratch_database: str, tmp_path: Path
) -> None:
    async with running_auth(scratch_database, tmp_path):
        connection = await asyncpg.connect(scratch_database)
        rows = await connection.fetch("SELECT wrapped_private_key FROM auth.signing_keys")
        await connection.close()

    assert len(rows) == 2
    # PKCS #8 begins with the version and the algorithm's identifier.
    assert not any(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" in bytes(row[0]) for row in rows)


async def test_another_key_encryption_key_stops_the_start(
    scratch_database: str, tmp_path: Path
) -> None:
    async with running_auth(scratch_database, tmp_path / "one"):
        pass

    with pytest.raises(WeakKey, match="another key-encryption key"):
        async with running_auth(scratch_database, tmp_path / "two"):
            pass


def test_a_wrapped_key_is_bound_to_its_id() -> None:
    """Who can write to the table cannot pass one key off as another."""
    wrapping = KeyWrapping(b"k" * 32)
    wrapped = wrapping.wrap("a", rsa_key())

    assert wrapping.unwrap("a", wrapped).private_numbers() == rsa_key().private_numbers()
    with pytest.raises(WeakKey):
        wrapping.unwrap("b", wrapped)
    with pytest.raises(WeakKey):
        wrapping.unwrap("a", wrapped[:-1] + bytes([wrapped[-1] ^ 1]))


async def test_a_door_of_before_knows_no_later_ring(fresh_auth: Auth) -> None:
    """Two rotations between two fetches need the announcement that auth makes of each."""
    fetched_before = await fresh_auth.door()
    await rotate(fresh_auth)
    await rotate(fresh_auth)
    token = (await fresh_auth.log_in())["access_token"]

    with pytest.raises(TokenRefused):
        _verify(fetched_before, token, fresh_auth)
    assert _verify(await fresh_auth.door(), token, fresh_auth) == "chief"


def _verify(door: TokenDoor, token: str, auth: Auth) -> str:
    now = auth.clock.now.timestamp()
    return door.verify(token, type=TokenType.ACCESS, audience="vedette", now=now).username
