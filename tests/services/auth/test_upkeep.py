"""What auth does by itself: small tables, fresh keys, stronger hashes."""

from pathlib import Path

import argon2
import asyncpg

from tests.services.auth.rig import ADMIN, PASSWORD, Auth, Clock, running_auth


async def rows(auth: Auth, table: str) -> int:
    """How many rows a table holds."""
    connection = await asyncpg.connect(auth.database_url)
    try:
        count: int = await connection.fetchval(f"SELECT count(*) FROM auth.{table}")  # noqa: S608  # the test's own text
        return count
    finally:
        await connection.close()


async def test_what_is_over_is_deleted(scratch_database: str, tmp_path: Path) -> None:
    tables = ("sessions", "refresh_tokens", "revocations", "login_failures", "address_limits",
              "known_addresses", "audit")  # fmt: skip
    clock = Clock()
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        tokens = await auth.log_in()
        await auth.grant(grant_type="password", username="nobody", password="wrong password")
        await auth.call("POST", "/api/v2/auth/revoke", json={"token": tokens["access_token"]})
        before = [await rows(auth, table) for table in tables]
    clock.advance(days=400)
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        after = {table: await rows(auth, table) for table in tables}

    assert min(before) > 0
    # The keys rotated in the meantime, which is an event.
    assert after == {**dict.fromkeys(tables, 0), "audit": 1}


async def test_what_is_not_over_stays(scratch_database: str, tmp_path: Path) -> None:
    clock = Clock()
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        tokens = await auth.log_in()
    clock.advance(hours=1)
    async with running_auth(scratch_database, tmp_path, clock=clock) as auth:
        assert (await auth.refresh(tokens["refresh_token"])).status_code == 200
        assert await rows(auth, "known_addresses") == 1


async def test_upkeep_runs_by_itself(scratch_database: str, tmp_path: Path) -> None:
    """A running service rotates without being asked, and without a restart."""
    clock = Clock()
    async with running_auth(
        scratch_database, tmp_path, clock=clock, auth_upkeep_interval_s=0.01
    ) as auth:
        clock.advance(days=31)
        keys = 2
        while keys == 2:
            keys = len((await auth.call("GET", "/.well-known/jwks.json")).json()["keys"])

    assert keys == 3


async def test_a_hash_of_weaker_parameters_is_renewed_at_the_next_login(fresh_auth: Auth) -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    connection = await asyncpg.connect(fresh_auth.database_url)
    await connection.execute(
        "UPDATE auth.users SET password_hash = $1 WHERE username = $2", weak, ADMIN
    )
    await fresh_auth.log_in()
    renewed = await connection.fetchval(
        "SELECT password_hash FROM auth.users WHERE username = $1", ADMIN
    )
    await connection.close()

    assert renewed != weak
    assert argon2.extract_parameters(renewed).memory_cost == 19 * 1024
    assert (await fresh_auth.log_in())["access_token"]


async def test_a_second_replica_starts_beside_the_first(
    scratch_database: str, tmp_path: Path
) -> None:
    async with (
        running_auth(scratch_database, tmp_path) as one,
        running_auth(scratch_database, tmp_path) as two,
    ):
        tokens = await one.log_in()

        assert (await two.refresh(tokens["refresh_token"])).status_code == 200
