"""Attack 73: one credit spent twice, one refund taken twice, and what a killed process leaves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.domain import AnalysisId, OwnerId, new_analysis_id
from services.netra.repositories.ledger import Ledger
from services.netra.tables import AccountRow, AnalysisRow, LedgerRow
from shared.db import create_engine
from shared.objects import LocalObjects
from tests.services.netra.support import Bench, as_caller, caller, picture, stranger

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
async def committing(scratch_database: str) -> AsyncIterator[Sessions]:
    """Sessions that commit, on connections of their own."""
    engine = create_engine(scratch_database, pool_size=16)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


async def balance(sessions: Sessions, owner: OwnerId) -> tuple[int, int]:
    """The account's credits, and the sum of its ledger."""
    async with sessions() as session:
        account = await session.scalar(select(AccountRow.credits).where(AccountRow.owner == owner))
        total = await session.scalar(
            select(func.sum(LedgerRow.amount)).where(LedgerRow.owner == owner)
        )
    return account or 0, int(total or 0)


async def test_s73_one_credit_buys_one_of_a_hundred_parallel_analyses(
    committing: Sessions, tmp_path: Path
) -> None:
    """On the old wire; the account opens at the same moment."""
    bench = Bench(committing, LocalObjects(tmp_path / "objects"), credits=1)
    owner = OwnerId(bench.auth.add("bob", "hunter2222"))
    async with bench.serve() as client:

        async def upload(number: int) -> int:
            answer = await client.post(
                "/v1/doAnalysis",
                data={"token": "token-of-bob"},
                files={"image": ("a.jpg", picture(level=number))},
                headers=stranger(),
            )
            return int(answer.json()["status"])

        statuses = await asyncio.gather(*(upload(number) for number in range(100)))
    async with committing() as session:
        queued = await session.scalar(select(func.count()).select_from(AnalysisRow))

    assert sorted(statuses) == [200, *[411] * 99]
    assert queued == 1
    assert await balance(committing, owner) == (0, 0)


async def test_s73_two_images_never_overdraw_what_is_left_for_one(
    committing: Sessions, tmp_path: Path
) -> None:
    """Fifty pairs at once on eleven credits: five pairs, and one credit left."""
    who = caller()
    bench = Bench(committing, LocalObjects(tmp_path / "objects"), credits=11)
    owner = OwnerId(bench.auth.add("bob", "hunter2222"))
    async with bench.serve() as client:

        async def upload() -> int:
            answer = await client.post(
                "/v1/doPatientAnalysis",
                data={"token": "token-of-bob"},
                files={name: ("a.jpg", picture()) for name in ("imgLeftData", "imgRightData")},
                headers=as_caller(who),
            )
            return int(answer.json()["status"])

        statuses = await asyncio.gather(*(upload() for _ in range(50)))

    assert statuses.count(200) == 5
    assert await balance(committing, owner) == (1, 1)


async def test_s73_a_failed_analysis_is_refunded_once(committing: Sessions) -> None:
    """Fifty refunds of one analysis at once."""
    owner, analysis = OwnerId(uuid4()), new_analysis_id()
    async with committing.begin() as session:
        await Ledger(session, 10).charge(owner, [analysis])

    async def refund() -> bool:
        async with committing.begin() as session:
            return await Ledger(session, 10).refund(analysis)

    refunded = await asyncio.gather(*(refund() for _ in range(50)))

    assert refunded.count(True) == 1
    assert await balance(committing, owner) == (10, 10)


async def test_s73_what_was_never_charged_is_not_refunded(committing: Sessions) -> None:
    async with committing.begin() as session:
        assert await Ledger(session, 10).refund(AnalysisId(uuid4())) is False


async def test_s73_cancelling_deleting_and_failing_give_one_credit_back(
    committing: Sessions, tmp_path: Path
) -> None:
    """All at once, on an analysis that a worker has in its hands."""
    who = caller()
    bench = Bench(committing, LocalObjects(tmp_path / "objects"), credits=3)
    async with bench.serve() as client:

        async def ask(method: str, url: str) -> httpx.Response:
            return await client.request(method, url, headers=as_caller(who))

        for _ in range(5):
            started = await client.post(
                "/api/v2/netra/analyses",
                files={"image": ("a.jpg", b"\xff\xd8\xff" + bytes(200))},
                headers=as_caller(who),
            )
            url = started.headers["location"]
            await asyncio.gather(
                bench.work(),
                ask("POST", f"{url}/cancel"),
                ask("POST", f"{url}/cancel"),
                ask("DELETE", url),
                ask("DELETE", url),
            )
            await bench.work()

    assert await balance(committing, OwnerId(uuid4())) == (0, 0)
    account, total = await balance(committing, OwnerId(UUID(who.subject)))
    assert account == total == 3


async def test_s73_setting_credits_while_they_are_spent_keeps_the_ledger(
    committing: Sessions,
) -> None:
    owner = OwnerId(uuid4())

    async def spend() -> None:
        async with committing.begin() as session:
            await Ledger(session, 1000).charge(owner, [new_analysis_id()])

    async def give(wanted: int) -> None:
        async with committing.begin() as session:
            await Ledger(session, 1000).set_credits(owner, wanted)

    await asyncio.gather(*(spend() for _ in range(40)), *(give(500 + n) for n in range(10)))
    account, total = await balance(committing, owner)

    assert account == total
