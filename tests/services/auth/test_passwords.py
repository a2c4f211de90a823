"""Which passwords are good enough, and how they are hashed."""

import anyio
import argon2
import pytest

from services.auth.errors import (
    HashingBusy,
    PasswordInvalid,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooShort,
)
from services.auth.passwords import (
    MEMORY_KIB,
    PASSES,
    PasswordHasher,
    check_new_password,
    check_password,
    check_size,
)

QUICK = {"memory_kib": 64, "passes": 1}


@pytest.mark.parametrize(
    "password",
    [
        "nine grey herons over the fen", "correct horse battery staple", "kR7#vbn29Lq!xZ",
        "пароль-не-для-всех", "密码密码是长的不是短的十二", "  blanks count too  ",
    ],
)  # fmt: skip
def test_a_long_unusual_password_is_good(password: str) -> None:
    check_new_password(password, username="grant")


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "Password1234!", "P@ssw0rd123456", "passwordpassword", "qwertyuiop123",
        "qwertyuiopas", "123456789012", "210987654321", "aaaaaaaaaaaa", "abababababab",
        "abcdefghijkl", "adminadminadmin", "letmein123456789", "iloveyou!!!!!!!", "changeme2026!!",
        "administrator", "dr.grant2026!", "dr.grantdr.grant", "1qaz2wsx3edc", "q1w2e3r4t5y6",
    ],
)  # fmt: skip
def test_s32_a_password_that_is_tried_first_is_refused(password: str) -> None:
    with pytest.raises(PasswordTooCommon):
        check_new_password(password, username="dr.grant")


def test_s32_the_modern_api_wants_12_characters_and_the_old_ones_8() -> None:
    with pytest.raises(PasswordTooShort):
        check_new_password("eleven-char", username="grant")
    with pytest.raises(PasswordTooShort):
        check_password("seven-c", min_characters=8)
    check_password("eight-ch", min_characters=8)


def test_s31_a_password_of_more_than_1024_bytes_is_refused() -> None:
    check_size("x" * 1024)
    with pytest.raises(PasswordTooLong):
        check_size("x" * 1025)
    with pytest.raises(PasswordTooLong):
        check_size("я" * 513)


def test_half_a_character_is_no_password() -> None:
    with pytest.raises(PasswordInvalid):
        check_size("half a pair: \ud800")


async def test_a_hash_is_argon2id_with_the_stated_parameters() -> None:
    hasher = PasswordHasher(slots=1)
    parameters = argon2.extract_parameters(await hasher.hash("some password"))

    assert parameters.type is argon2.Type.ID
    assert (parameters.memory_cost, parameters.time_cost) == (MEMORY_KIB, PASSES)


async def test_only_the_password_itself_verifies() -> None:
    hasher = PasswordHasher(slots=1, **QUICK)
    password_hash = await hasher.hash("some password")

    assert await hasher.verify(password_hash, "some password")
    assert not await hasher.verify(password_hash, "some passwore")
    assert not await hasher.verify(password_hash, "some password ")


async def test_s32_no_character_of_a_long_or_foreign_password_is_dropped() -> None:
    """Unlike bcrypt, which reads 72 bytes; and no spelling is made another by normalisation."""
    hasher = PasswordHasher(slots=1, **QUICK)
    long, composed = "x" * 1000, "caf\u00e9-au-lait"
    long_hash, composed_hash = await hasher.hash(long), await hasher.hash(composed)

    assert await hasher.verify(long_hash, long)
    assert not await hasher.verify(long_hash, long[:-1] + "y")
    assert await hasher.verify(composed_hash, composed)
    assert not await hasher.verify(composed_hash, "cafe\u0301-au-lait")


@pytest.mark.parametrize("password_hash", [None, "", "!", "$argon2id$broken", "plain text"])
async def test_nothing_verifies_against_no_hash(password_hash: str | None) -> None:
    hasher = PasswordHasher(slots=1, **QUICK)

    assert not await hasher.verify(password_hash, "nobody has this password")


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    old = await PasswordHasher(slots=1, **QUICK).hash("some password")

    assert PasswordHasher(slots=1, memory_kib=128, passes=1).is_outdated(old)
    assert not PasswordHasher(slots=1, **QUICK).is_outdated(old)


async def test_s31_a_flood_of_logins_is_turned_away_before_it_queues_for_long() -> None:
    hasher = PasswordHasher(slots=1, waiting_per_slot=4, **QUICK)
    outcomes: list[str] = []

    async def try_one() -> None:
        try:
            await hasher.verify(None, "guess")
            outcomes.append("checked")
        except HashingBusy:
            outcomes.append("turned away")

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(try_one)

    assert outcomes.count("checked") == 4
    assert outcomes.count("turned away") == 16
    assert not await hasher.verify(None, "and then it goes on")
