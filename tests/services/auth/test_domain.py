"""Rules of accounts and credentials, without anything around them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.auth.domain import (
    ALL_SCOPES,
    ASSIGNABLE_ROLES,
    CLOCK_SKEW,
    FURTHEST_AHEAD,
    LEGACY_APIS,
    LONGEST_TOKEN_LIFETIME,
    SCOPES_OF_ROLE,
    Role,
    User,
    UserId,
    is_api_key,
    is_username,
    new_api_key,
    new_id,
    new_token_id,
    scopes_of,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
USER = User(
    id=UserId(new_id(NOW)),
    username="grant",
    email=None,
    password_hash=None,
    roles=(Role.CLINICIAN, Role.ANALYST),
    created_at=NOW,
    disabled_at=None,
    tokens_valid_from=0,
)


def test_identifiers_sort_by_time_and_are_version_7() -> None:
    earlier, later = new_id(NOW), new_id(NOW + timedelta(milliseconds=1))

    assert earlier < later
    assert earlier.version == 7
    assert earlier.variant == "specified in RFC 4122"
    assert earlier.int >> 80 == int(NOW.timestamp() * 1000)


def test_a_thousand_identifiers_of_one_instant_differ() -> None:
    assert len({new_id(NOW) for _ in range(1000)}) == 1000


def test_an_administrator_may_do_everything() -> None:
    assert scopes_of([Role.ADMIN]) == ALL_SCOPES


def test_several_roles_add_up() -> None:
    both = SCOPES_OF_ROLE[Role.CLINICIAN] | SCOPES_OF_ROLE[Role.ANALYST]

    assert USER.scopes == both


def test_nobody_is_given_the_platforms_own_roles() -> None:
    assert {Role.DEVICE, Role.ANONYMOUS}.isdisjoint(ASSIGNABLE_ROLES)


def test_anonymous_and_no_role_may_do_nothing() -> None:
    assert scopes_of([Role.ANONYMOUS]) == scopes_of([]) == frozenset()


@pytest.mark.parametrize("name", LEGACY_APIS)
def test_a_token_of_an_old_api_reaches_that_api_alone(name: str) -> None:
    api = LEGACY_APIS[name]

    assert {scope.split(":")[0] for scope in api.scopes} == {name}
    assert api.token_lifetime <= LONGEST_TOKEN_LIFETIME


def test_a_token_is_dated_after_the_last_revocation() -> None:
    """In the second of a revocation, what comes after it is told from what came before."""
    revoked = replace(USER, tokens_valid_from=int(NOW.timestamp()) + 1)

    assert USER.issue_instant(NOW) == int(NOW.timestamp())
    assert revoked.issue_instant(NOW) == int(NOW.timestamp()) + 1
    assert revoked.issue_instant(NOW + timedelta(minutes=1)) == int(NOW.timestamp()) + 60


def test_every_revocation_within_a_second_has_a_date_of_its_own() -> None:
    second = int(NOW.timestamp())
    once = replace(USER, tokens_valid_from=second + 1)

    assert USER.next_valid_from(NOW) == second + 1
    assert once.next_valid_from(NOW) == second + 2
    assert once.next_valid_from(NOW + timedelta(minutes=1)) == second + 61


def test_revocations_are_not_dated_further_ahead_than_doors_allow() -> None:
    furthest = int((NOW + FURTHEST_AHEAD).timestamp())

    assert FURTHEST_AHEAD < CLOCK_SKEW
    assert replace(USER, tokens_valid_from=furthest - 1).next_valid_from(NOW) == furthest
    assert replace(USER, tokens_valid_from=furthest).next_valid_from(NOW) is None


def test_only_an_email_address_changes_nothing_that_a_token_says() -> None:
    assert not replace(USER, email="grant@example.org").says_otherwise(USER)
    assert replace(USER, roles=()).says_otherwise(USER)
    assert replace(USER, disabled_at=NOW).says_otherwise(USER)
    assert replace(USER, password_hash="another").says_otherwise(USER)


@pytest.mark.parametrize("username", ["bob", "dr.grant", "a@b.c", "x+y-z_1", "医生", "я" * 150])
def test_the_old_sign_ups_user_names_are_good(username: str) -> None:
    assert is_username(username)


@pytest.mark.parametrize(
    "username", ["", "a b", "a\n", "a\x00", "a/b", "a:b", "x" * 151, "\u202eevil", "a\ud800"]
)
def test_other_user_names_are_not(username: str) -> None:
    assert not is_username(username)


def test_an_api_key_has_160_random_bits_and_proves_its_spelling() -> None:
    key = new_api_key()

    assert key.startswith("vdt_")
    assert len(key) == 42
    assert is_api_key(key)
    assert len({new_api_key() for _ in range(1000)}) == 1000


def test_a_mistyped_api_key_is_seen_without_a_database() -> None:
    key = new_api_key()
    swapped = key[:10] + ("A" if key[10] != "A" else "B") + key[11:]

    assert not is_api_key(swapped)
    assert not is_api_key(key[:-1])
    assert not is_api_key(key.lower())
    assert not is_api_key("vdt_")


def test_s27_token_ids_have_128_random_bits() -> None:
    assert len(new_token_id()) == 32
    assert len({new_token_id() for _ in range(1000)}) == 1000
