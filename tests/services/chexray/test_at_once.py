"""Requests that come at the same time, each on a connection of its own."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.chexray.repository import Quota
from shared.assertions import Caller
from shared.db import create_engine
from shared.objects import LocalObjects, StoreAway
from tests.services.chexray.support import Bench, as_caller, caller, png

STUDIES = "/api/v2/chexray/studies"
AT_ONCE = 12


@pytest.fixture
async def bench(scratch_database: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """The service on a database that keeps what is committed."""
    engine = create_engine(scratch_database, pool_size=AT_ONCE)
    sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(engine, expire_on_commit=False)
    yield Bench(sessions, LocalObjects(tmp_path / "objects"))
    await engine.dispose()


async def post(client: httpx.AsyncClient, who: Caller, level: int = 1, **more: str) -> int:
    """The status of one upload."""
    answer = await client.post(
        STUDIES,
        files={"image": ("a.png", png(level=level))},
        headers={**as_caller(who), **more},
    )
    return answer.status_code


async def test_one_key_makes_one_study_however_many_ask(bench: Bench, bob: Caller) -> None:
    """Those who come second wait for the first and get its answer."""
    key = {"Idempotency-Key": "once"}
    async with bench.serve() as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    STUDIES,
                    files={"image": ("a.png", png())},
                    headers={**as_caller(bob), **key},
                )
                for _ in range(AT_ONCE)
            )
        )
        listed = (await client.get(STUDIES, headers=as_caller(bob))).json()["items"]

    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["id"] for answer in answers} == {listed[0]["id"]}
    assert len(listed) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_s66_a_quota_holds_however_many_come_at_once(bench: Bench, bob: Caller) -> None:
    """Exactly as many studies as the account may keep."""
    bench.quota = Quota(5, 1_000_000)
    async with bench.serve() as client:
        statuses = await asyncio.gather(*(post(client, bob, level) for level in range(AT_ONCE)))

    assert sorted(statuses) == [201] * 5 + [403] * (AT_ONCE - 5)


async def test_a_user_has_one_number_however_many_ask_first(bench: Bench) -> None:
    """The old wire's number is given out once."""
    newcomer = as_caller(caller())
    async with bench.serve() as client:
        answers = await asyncio.gather(
            *(client.get("/api/chexray/user/", headers=newcomer) for _ in range(AT_ONCE))
        )

    assert len({answer.json()["userid"] for answer in answers}) == 1


async def test_studies_keep_their_order_across_transactions(bench: Bench, bob: Caller) -> None:
    """Newest first, page by page, by time and not by chance."""
    async with bench.serve() as client:
        for level in range(5):
            await post(client, bob, level)
        numbers = (await client.get("/api/chexray/user/", headers=as_caller(bob))).json()
        first = (await client.get(f"{STUDIES}?limit=3", headers=as_caller(bob))).json()
        second = (
            await client.get(
                STUDIES,
                params={"limit": 3, "cursor": first["next_cursor"]},
                headers=as_caller(bob),
            )
        ).json()
        times = [item["created_at"] for item in first["items"] + second["items"]]

    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 5
    assert numbers["pastxrays"] == sorted(numbers["pastxrays"], reverse=True)
    assert second["next_cursor"] is None


class HeldObjects(LocalObjects):
    """A store that has not kept anything yet."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun: list[Future[str]] = []

    def begin_put(self, content: bytes, loop: asyncio.AbstractEventLoop) -> Future[str]:
        """Begin, and never end by itself."""
        self.begun.append(Future())
        return self.begun[-1]


async def test_no_answer_comes_before_its_file_is_kept(
    bench: Bench, bob: Caller, tmp_path: Path
) -> None:
    """One file is kept late, one is not kept at all: its upload is no study."""
    bench.objects = store = HeldObjects(tmp_path / "held")
    async with bench.serve() as client:
        uploads = [asyncio.create_task(post(client, bob, level)) for level in range(2)]
        while len(store.begun) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not any(upload.done() for upload in uploads)
        assert (await client.get(STUDIES, headers=as_caller(bob))).json()["items"] == []

        store.begun[0].set_result("0" * 64)
        store.begun[1].set_exception(StoreAway("The object store does not answer."))
        assert sorted(await asyncio.gather(*uploads)) == [201, 503]
        assert len((await client.get(STUDIES, headers=as_caller(bob))).json()["items"]) == 1
