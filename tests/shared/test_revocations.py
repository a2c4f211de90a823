"""Every process learns of a revocation within a second, and knows when it may have missed one."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.domain import CLOCK_SKEW, LONGEST_TOKEN_LIFETIME, Role, User, UserId
from services.auth.repositories.events import EventRepository
from shared.assertions import Refusal
from shared.db import create_engine
from shared.migrations import migrate
from shared.revocations import KEYS_CHANNEL, Revocation, Revocations, RevokedKind
from tests.database import new_database
from tests.forging import CLAIMS

NOW = datetime.now(UTC)
SIGNED = replace(CLAIMS, key_id="key-1", issued_at=int(NOW.timestamp()))
USER = User(
    id=UserId(UUID(CLAIMS.subject)),
    username="grant",
    email=None,
    password_hash=None,
    roles=(Role.CLINICIAN,),
    created_at=NOW,
    disabled_at=None,
    tokens_valid_from=int(NOW.timestamp()) + 1,
)


@dataclass
class Issuer:
    """Auth's part: it writes revocations and commits."""

    sessions: async_sessionmaker[AsyncSession]

    async def revoke(self, kind: RevokedKind, value: object, now: datetime = NOW) -> None:
        """Revoke a token, session or key."""
        async with self.sessions.begin() as session:
            await EventRepository(session).revoke(kind, value, now)

    async def revoke_user(self, user: User) -> None:
        """Revoke what was issued to a user."""
        async with self.sessions.begin() as session:
            await EventRepository(session).revoke_user(user, NOW)


@pytest.fixture
async def issuer(scratch_database: str) -> AsyncGenerator[Issuer]:
    """Something that revokes on the database that is listened to."""
    engine = create_engine(scratch_database, pool_size=1)
    yield Issuer(async_sessionmaker(engine))
    await engine.dispose()


@dataclass
class Heard:
    """What callbacks were told, to be waited for."""

    events: asyncio.Queue[Revocation | None]

    async def next(self) -> Revocation | None:
        """The next one, within the second that is promised."""
        return await asyncio.wait_for(self.events.get(), 1)


def hear(revocations: Revocations) -> Heard:
    """Listen to the listener."""
    heard = Heard(asyncio.Queue())
    revocations.on_revoked(heard.events.put_nowait)
    return heard


@pytest.mark.parametrize(
    ("kind", "value"),
    [("token", SIGNED.token_id), ("session", SIGNED.session_id), ("key", SIGNED.key_id)],
)
async def test_what_is_revoked_is_refused_within_a_second(
    scratch_database: str, issuer: Issuer, kind: RevokedKind, value: str
) -> None:
    async with Revocations.listen(scratch_database) as revocations:
        heard = hear(revocations)
        assert revocations.refusal(SIGNED) is None
        await issuer.revoke(kind, value)
        await heard.next()

        assert revocations.refusal(SIGNED) is Refusal.REVOKED


async def test_what_was_revoked_before_the_start_is_refused(
    scratch_database: str, issuer: Issuer
) -> None:
    await issuer.revoke("session", SIGNED.session_id)

    async with Revocations.listen(scratch_database) as revocations:
        assert revocations.refusal(SIGNED) is Refusal.REVOKED


async def test_only_what_was_issued_to_a_user_before_is_refused(
    scratch_database: str, issuer: Issuer
) -> None:
    """Who changes the password can log in again at once."""
    await issuer.revoke_user(USER)
    later = replace(SIGNED, issued_at=USER.issue_instant(NOW))

    async with Revocations.listen(scratch_database) as revocations:
        assert revocations.refusal(SIGNED) is Refusal.REVOKED
        assert revocations.refusal(later) is None


async def test_a_disabled_user_is_inactive_until_enabled_again(
    scratch_database: str, issuer: Issuer
) -> None:
    later = replace(SIGNED, issued_at=USER.tokens_valid_from)

    async with Revocations.listen(scratch_database) as revocations:
        heard = hear(revocations)
        await issuer.revoke_user(replace(USER, disabled_at=NOW))
        await heard.next()
        assert revocations.refusal(later) is Refusal.INACTIVE

        await issuer.revoke_user(USER)
        await heard.next()
        assert revocations.refusal(later) is None
        assert revocations.refusal(SIGNED) is Refusal.REVOKED


async def test_nobody_else_is_refused(scratch_database: str, issuer: Issuer) -> None:
    await issuer.revoke("token", "another-token")
    await issuer.revoke("session", "another-session")
    await issuer.revoke_user(USER)
    somebody = replace(SIGNED, subject="01900000-0000-7000-8000-000000000077", session_id=None)

    async with Revocations.listen(scratch_database) as revocations:
        assert revocations.refusal(somebody) is None


async def test_what_was_missed_during_an_outage_is_known_after_it(
    scratch_database: str, issuer: Issuer
) -> None:
    async with Revocations.listen(scratch_database) as revocations:
        heard = hear(revocations)
        connection = await asyncpg.connect(scratch_database)
        async with connection.transaction():
            # Its backend ends before the revocation that follows commits.
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE '%auth.revocations%' AND pid <> pg_backend_pid() "
                "AND datname = current_database()"
            )
        await connection.close()
        await issuer.revoke("session", SIGNED.session_id)
        await heard.next()

        assert revocations.refusal(SIGNED) is Refusal.REVOKED
        assert revocations.is_fresh


async def test_it_is_not_fresh_without_a_database() -> None:
    """Who cannot know must not let in; but the start does not wait for a database."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"

    async with Revocations.listen(nowhere) as revocations:
        assert not revocations.is_fresh


async def test_it_is_not_fresh_when_the_database_was_silent_too_long(
    scratch_database: str,
) -> None:
    listening = Revocations.listen(scratch_database, stale_after_s=0.0, heartbeat_s=60)

    async with listening as revocations:
        assert not revocations.is_fresh


async def test_an_expired_revocation_is_not_read(scratch_database: str, issuer: Issuer) -> None:
    await issuer.revoke("token", SIGNED.token_id, NOW - timedelta(days=60))

    async with Revocations.listen(scratch_database) as revocations:
        assert revocations.refusal(SIGNED) is None


async def test_an_expired_revocation_is_forgotten(scratch_database: str, issuer: Issuer) -> None:
    """What is kept in memory does not grow with every logout there ever was."""
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    revoked_at = ends_at - LONGEST_TOKEN_LIFETIME - 2 * CLOCK_SKEW
    await issuer.revoke("token", SIGNED.token_id, revoked_at)
    await issuer.revoke_user(replace(USER, id=UserId(UUID(int=1))))

    async with Revocations.listen(scratch_database, heartbeat_s=0.02) as revocations:
        assert revocations.refusal(SIGNED) is Refusal.REVOKED
        connection = await asyncpg.connect(scratch_database)
        async with asyncio.timeout(10):
            while revocations.refusal(SIGNED) is not None:
                await connection.execute("SELECT 1")
        await connection.close()

        assert revocations.user_refusal(str(UUID(int=1)), issued_at=0) is Refusal.REVOKED


async def test_a_change_of_the_key_set_is_announced(scratch_database: str) -> None:
    async with Revocations.listen(scratch_database) as revocations:
        changes: asyncio.Queue[None] = asyncio.Queue()
        revocations.on_keys_changed(lambda: changes.put_nowait(None))
        connection = await asyncpg.connect(scratch_database)
        await connection.execute("SELECT pg_notify($1, 'key-2')", KEYS_CHANNEL)
        await connection.close()

        await asyncio.wait_for(changes.get(), 1)


def test_a_notification_says_what_the_row_says() -> None:
    revocation = Revocation(7, "user", "somebody", 1.5, True, 2.5)

    assert Revocation.from_json(revocation.to_json()) == revocation


async def test_before_auth_has_made_its_tables_nothing_is_fresh_and_nothing_fails(
    postgres_url: str,
) -> None:
    """At a first start the gateway listens before auth has migrated."""
    async with new_database(postgres_url) as url, Revocations.listen(url) as revocations:
        assert not revocations.is_fresh
        await migrate(url, "auth")
        async with asyncio.timeout(5):
            while not revocations.is_fresh:
                await asyncio.sleep(0.02)
