"""An announced event reaches its endpoints signed, in order, until it is accepted or dead."""

import json
import time
from collections.abc import AsyncGenerator
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.db import create_engine
from shared.migrations import migrate
from shared.webhooks import Courier, Endpoint, Guard, Sender, is_genuine
from tests.database import new_database
from tests.shared.webhooks.bell import (
    BELL,
    BUSY,
    GONE,
    MIGRATIONS,
    OK,
    SCHEMA,
    Receiver,
    WebhookDeliveryRow,
    eventually,
    receiving,
)

Sessions = async_sessionmaker[AsyncSession]
GUARD = Guard(["127.0.0.0/8"])


@pytest.fixture
async def bell_url(postgres_url: str) -> AsyncGenerator[str]:
    """A database with the bell's schema."""
    async with new_database(postgres_url) as url:
        await migrate(url, SCHEMA, MIGRATIONS)
        yield url


@pytest.fixture
async def bell_engine(bell_url: str) -> AsyncGenerator[AsyncEngine]:
    """Connections to it."""
    engine = create_engine(bell_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def bell_sessions(bell_engine: AsyncEngine) -> Sessions:
    """Sessions that commit."""
    return async_sessionmaker(bell_engine, expire_on_commit=False)


async def register(sessions: Sessions, receiver: Receiver, *events: str) -> Endpoint:
    """Let the receiver hear of some events of tenant `a`."""
    async with sessions.begin() as session:
        return await BELL.register(
            session, GUARD, tenant="a", url=receiver.url, events=events or ("*",)
        )


async def announce(sessions: Sessions, number: int = 1, *, tenant: str = "a") -> int:
    """Announce one event."""
    async with sessions.begin() as session:
        return await BELL.announce(
            session, tenant=tenant, event="door.opened", data={"number": number}
        )


async def deliveries(sessions: Sessions) -> list[WebhookDeliveryRow]:
    """The outbox, oldest first."""
    async with sessions() as session:
        rows = select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.number)
        return list((await session.scalars(rows)).all())


async def statuses(sessions: Sessions) -> list[str]:
    """The states of the outbox."""
    return [row.status for row in await deliveries(sessions)]


async def make_due(sessions: Sessions) -> None:
    """Let the pause before the next attempt be over."""
    async with sessions.begin() as session:
        await session.execute(text("UPDATE bell.webhook_deliveries SET next_attempt_at = now()"))
        await session.execute(text("SELECT pg_notify('bell_webhooks', '')"))


async def test_an_event_arrives_signed_and_as_it_was_announced(
    bell_engine: AsyncEngine, bell_url: str, bell_sessions: Sessions
) -> None:
    """With an id by which a receiver knows a repetition."""
    async with receiving() as receiver, Sender(GUARD) as sender:
        endpoint = await register(bell_sessions, receiver)
        async with Courier(BELL, sender, bell_engine, bell_url).running():
            assert await announce(bell_sessions) == 1
            got = await receiver.next()
            await eventually(partial(statuses, bell_sessions), equals=["delivered"])

    message = json.loads(got.body)
    assert got.line == "POST /hook?x=1 HTTP/1.1"
    assert (message["type"], message["data"]) == ("door.opened", {"number": 1})
    assert message["id"] == got.headers["vedette-delivery"]
    assert UUID(message["id"])
    assert got.headers["vedette-event"] == "door.opened"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    header = got.headers["vedette-signature"]
    assert is_genuine(endpoint.secret, header, got.body, now=time.time())


async def test_an_event_that_is_rolled_back_is_never_told(bell_sessions: Sessions) -> None:
    """Nor one of another tenant, nor one that the endpoint does not want."""
    async with receiving() as receiver:
        await register(bell_sessions, receiver, "window.opened")
        async with bell_sessions() as session:
            assert await BELL.announce(session, tenant="a", event="window.opened", data={}) == 1
            await session.rollback()
        assert await announce(bell_sessions) == 0
        assert await announce(bell_sessions, tenant="b") == 0

    assert await deliveries(bell_sessions) == []


async def test_a_busy_receiver_is_tried_again_with_the_same_body(
    bell_engine: AsyncEngine, bell_url: str, bell_sessions: Sessions
) -> None:
    """The next attempt is set some seconds later; its number stands in a header."""
    async with receiving([BUSY]) as receiver, Sender(GUARD) as sender:
        await register(bell_sessions, receiver)
        async with Courier(BELL, sender, bell_engine, bell_url).running():
            await announce(bell_sessions)
            first = await receiver.next()

            async def attempts(sessions: Sessions) -> list[int]:
                return [row.attempts for row in await deliveries(sessions)]

            await eventually(partial(attempts, bell_sessions), equals=[1])
            (waiting,) = await deliveries(bell_sessions)
            await make_due(bell_sessions)
            second = await receiver.next()
            await eventually(partial(statuses, bell_sessions), equals=["delivered"])

    assert (waiting.status, waiting.last_status, waiting.last_error) == (
        "waiting",
        503,
        "status 503",
    )
    assert (waiting.next_attempt_at - waiting.created_at).total_seconds() >= 5
    assert first.body == second.body
    assert (first.headers["vedette-attempt"], second.headers["vedette-attempt"]) == ("1", "2")


async def test_a_receiver_that_is_gone_makes_the_delivery_dead_and_it_can_be_sent_again(
    bell_engine: AsyncEngine, bell_url: str, bell_sessions: Sessions
) -> None:
    """Dead letters are kept, for their tenant alone."""
    async with receiving([GONE]) as receiver, Sender(GUARD) as sender:
        await register(bell_sessions, receiver)
        async with Courier(BELL, sender, bell_engine, bell_url).running():
            await announce(bell_sessions)
            await receiver.next()
            await eventually(partial(statuses, bell_sessions), equals=["dead"])
            (dead,) = await deliveries(bell_sessions)
            async with bell_sessions.begin() as session:
                assert not await BELL.deliver_again(session, dead.id, tenant="b")
                assert await BELL.deliver_again(session, dead.id, tenant="a")
            await receiver.next()
            await eventually(partial(statuses, bell_sessions), equals=["delivered"])


async def test_an_endpoint_gets_one_delivery_after_the_other(
    bell_engine: AsyncEngine, bell_url: str, bell_sessions: Sessions
) -> None:
    """In the order in which things happened."""
    async with receiving([OK] * 20) as receiver, Sender(GUARD) as sender:
        await register(bell_sessions, receiver)
        for number in range(20):
            await announce(bell_sessions, number)
        async with (
            Courier(BELL, sender, bell_engine, bell_url).running(),
            Courier(BELL, sender, bell_engine, bell_url).running(),
        ):
            got = [json.loads((await receiver.next()).body)["data"]["number"] for _ in range(20)]

    assert got == list(range(20))


async def test_a_removed_endpoint_hears_nothing_more(bell_sessions: Sessions) -> None:
    """Another tenant cannot remove it."""
    async with receiving() as receiver:
        endpoint = await register(bell_sessions, receiver)
        await announce(bell_sessions)
        async with bell_sessions.begin() as session:
            assert not await BELL.remove(session, endpoint.id, tenant="b")
            assert await BELL.remove(session, endpoint.id, tenant="a")

    assert await announce(bell_sessions) == 0
    assert await deliveries(bell_sessions) == []
