"""Workers: picked up at once, done once, given up when they kill; and who is told of the end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.netra.announcing import WEBHOOKS
from services.netra.service import QUEUE
from shared.db import create_engine
from shared.jobs import Patience, Worker
from shared.jobs.sweeper import Sweeper
from shared.objects import LocalObjects
from shared.webhooks import Courier, Guard, Sender, is_genuine
from tests.services.netra.support import (
    DISEASED,
    UNCERTAIN,
    Bench,
    as_caller,
    caller,
    picture,
)
from tests.shared.webhooks.bell import receiving

ANALYSES = "/api/v2/netra/analyses"
HASTY = Patience(lease_s=30, sweep_s=0.1, first_retry_s=0.05, longest_retry_s=0.1, grace_s=1)
BOB = caller()
ON_LOOPBACK = Guard(["127.0.0.0/8"])


@pytest.fixture
async def own_engine(scratch_database: str) -> AsyncIterator[AsyncEngine]:
    """Connections that commit, to a database of this test alone."""
    engine = create_engine(scratch_database, pool_size=10)
    yield engine
    await engine.dispose()


@pytest.fixture
def own(own_engine: AsyncEngine, tmp_path: Path) -> Bench:
    """A bench on it."""
    sessions = async_sessionmaker(own_engine, expire_on_commit=False)
    return Bench(sessions, LocalObjects(tmp_path / "objects"), webhook_addresses=ON_LOOPBACK)


@asynccontextmanager
async def working(bench: Bench, engine: AsyncEngine, url: str) -> AsyncIterator[Worker]:
    """A worker in this process, from the moment it hears of jobs."""
    async with bench.handling() as handler:
        worker = Worker(QUEUE, handler, engine, url, concurrency=2, patience=HASTY)
        async with worker.running():
            await worker.until_listening()
            yield worker


async def start(client: httpx.AsyncClient, level: int = 100, **fields: Any) -> str:
    """Queue a photograph; its address."""
    answer = await client.post(
        ANALYSES,
        files={"image": ("a.jpg", picture(level=level))},
        data=fields,
        headers=as_caller(BOB),
    )
    return str(answer.headers["location"])


async def until(client: httpx.AsyncClient, url: str, *statuses: str) -> dict[str, object]:
    """The analysis, once it is in one of these states."""
    async with asyncio.timeout(30):
        while True:
            found: dict[str, object] = (await client.get(url, headers=as_caller(BOB))).json()
            if found["status"] in statuses:
                return found
            await asyncio.sleep(0.01)


async def age_leases(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Let every lease run out, as after the death of the workers."""
    async with sessions.begin() as session:
        await session.execute(
            text("UPDATE netra.analyses SET lease_until = now() - interval '1 s' "
                 "WHERE status = 'running'")
        )  # fmt: skip


async def test_an_idle_worker_takes_a_photograph_and_finishes_it(
    own: Bench, own_engine: AsyncEngine, scratch_database: str
) -> None:
    async with own.serve() as client, working(own, own_engine, scratch_database):
        found = await until(client, await start(client), "completed")

    assert found["evidence"] == "research"
    assert own.analyser.looked == 1


async def test_photographs_are_taken_in_turn_between_people(
    own: Bench, own_engine: AsyncEngine, scratch_database: str
) -> None:
    """Who sends one does not wait behind somebody's forty."""
    eve = caller()
    async with own.serve() as client:
        for number in range(40):
            await start(client, number)
        answer = await client.post(
            ANALYSES, files={"image": ("a.jpg", picture())}, headers=as_caller(eve)
        )
        url = answer.headers["location"]
        turn = 0
        while (await client.get(url, headers=as_caller(eve))).json()["status"] == "queued":
            assert await own.claim() is not None
            turn += 1

    assert turn <= 2


async def test_a_higher_priority_comes_first_among_ones_own(own: Bench) -> None:
    async with own.serve() as client:
        first = await start(client, 1)
        urgent = await start(client, 2, priority="5")
        claim = await own.claim()

    assert claim is not None
    assert urgent.endswith(str(claim.job_id))
    assert not first.endswith(str(claim.job_id))


async def test_a_photograph_that_kills_three_workers_is_given_up_and_refunded(
    own: Bench,
) -> None:
    """Attempts are counted when they begin, so a crash cannot loop."""
    async with own.serve() as client, own.handling() as handler:
        sweeper = Sweeper(QUEUE, handler, own.sessions, HASTY)
        url = await start(client)
        for _ in range(3):
            # A worker that takes it and is never heard of again.
            assert await own.claim() is not None
            await age_leases(own.sessions)
            await sweeper.sweep()
        found = (await client.get(url, headers=as_caller(BOB))).json()
        account = (await client.get("/api/v2/netra/account", headers=as_caller(BOB))).json()

    assert found["status"] == "failed"
    assert found["error"]["code"] == "poison"
    assert account["credits"] == 100
    assert await own.claim() is None


async def test_an_analysis_that_raises_is_tried_again_and_then_given_up(
    own: Bench, own_engine: AsyncEngine, scratch_database: str
) -> None:
    own.analyser.failure = RuntimeError("the network fell over")
    async with own.serve() as client, working(own, own_engine, scratch_database):
        found = await until(client, await start(client), "failed")
        account = (await client.get("/api/v2/netra/account", headers=as_caller(BOB))).json()

    assert own.analyser.looked == HASTY.most_failures
    assert found["error"]["code"] == "gave-up"  # type: ignore[index]  # a problem's members
    assert account["credits"] == 100


async def test_a_running_analysis_that_is_cancelled_stops_and_is_refunded(
    own: Bench, own_engine: AsyncEngine, scratch_database: str
) -> None:
    """The worker is in the middle of it."""
    looking, told = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow:
        evidence = "research"

        def analyse(self, picture: object) -> object:
            loop.call_soon_threadsafe(looking.set)
            asyncio.run_coroutine_threadsafe(told.wait(), loop).result(20)
            return DISEASED

    own.analyser = Slow()  # type: ignore[assignment]  # another stub
    async with own.serve() as client, working(own, own_engine, scratch_database):
        url = await start(client)
        await asyncio.wait_for(looking.wait(), 20)
        asked = await client.post(f"{url}/cancel", headers=as_caller(BOB))
        found = await until(client, url, "cancelled")
        told.set()
        account = (await client.get("/api/v2/netra/account", headers=as_caller(BOB))).json()

    assert asked.status_code == 200
    assert found["lesions"] is None
    assert account["credits"] == 100


async def test_webhooks_hear_of_the_end_signed_and_without_names(
    own: Bench, own_engine: AsyncEngine, scratch_database: str
) -> None:
    fields: dict[str, Any] = {
        "label": "camp 7",
        "examination": "v1",
        "patient_id": "4711",
        "patient_name": "Zoë",
    }
    async with (
        receiving() as receiver,
        Sender(ON_LOOPBACK) as sender,
        Courier(WEBHOOKS, sender, own_engine, scratch_database).running(),
        own.serve() as client,
        working(own, own_engine, scratch_database),
    ):
        made = await client.post(
            "/api/v2/netra/webhooks",
            json={"url": receiver.url, "events": ["analysis.completed", "analysis.held"]},
            headers=as_caller(BOB),
        )
        secret = made.json()["secret"]
        done = await start(client, **fields)
        first = await receiver.next()
        own.analyser.answer = UNCERTAIN
        held = await start(client)
        second = await receiver.next()
        listed = (await client.get("/api/v2/netra/webhooks", headers=as_caller(BOB))).json()

    told = json.loads(first.body)
    assert is_genuine(secret, first.headers["vedette-signature"], first.body, now=time.time())
    assert told["type"] == "analysis.completed"
    assert told["data"] == {
        "id": done.rsplit("/", 1)[1], "status": "completed", "label": "camp 7", "examination": "v1",
    }  # fmt: skip
    assert b"4711" not in first.body
    assert json.loads(second.body)["data"]["id"] == held.rsplit("/", 1)[1]
    assert json.loads(second.body)["type"] == "analysis.held"
    assert "secret" not in listed["items"][0]
    assert UUID(listed["items"][0]["id"])


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "https://10.0.0.7/", "http://169.254.169.254/", "ftp://a.example/",
     "https://user:pw@203.0.114.9/", "http://[::1]/", "no address", ""],
)  # fmt: skip
async def test_s68_no_webhook_goes_to_a_private_address(
    client: httpx.AsyncClient, as_bob: dict[str, str], url: str
) -> None:
    refused = await client.post("/api/v2/netra/webhooks", json={"url": url}, headers=as_bob)

    assert refused.status_code == 422


async def test_webhooks_are_few_and_can_be_removed(
    client: httpx.AsyncClient, as_bob: dict[str, str]
) -> None:
    hook = {"url": "https://203.0.114.9/hook"}
    made = [
        await client.post("/api/v2/netra/webhooks", json=hook, headers=as_bob) for _ in range(11)
    ]
    url = f"/api/v2/netra/webhooks/{made[0].json()['id']}"
    removed = [(await client.delete(url, headers=as_bob)).status_code for _ in range(2)]
    odd = await client.post(
        "/api/v2/netra/webhooks", json={**hook, "events": ["x"]}, headers=as_bob
    )
    unknown = await client.post(
        f"/api/v2/netra/webhooks/deliveries/{made[0].json()['id']}/again", headers=as_bob
    )

    assert [answer.status_code for answer in made] == [201] * 10 + [409]
    assert removed == [204, 404]
    assert (odd.status_code, unknown.status_code) == (422, 404)
