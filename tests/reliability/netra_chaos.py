"""Analyses under faults: workers killed and stopped, the database killed; then all is counted.

`python -m tests.reliability.netra_chaos --jobs 900 --outage-s 60` runs the long form and prints
what it found.
"""

import argparse
import asyncio
import collections
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.domain import OwnerId
from services.netra.service import Analyses, Photograph, Submission
from services.netra.tables import (
    AccountRow,
    AnalysisRow,
    LedgerRow,
    WebhookDeliveryRow,
    WebhookRow,
)
from shared.db import DatabaseAway, create_engine
from shared.migrations import migrate
from shared.objects import LocalObjects
from shared.postgres import EmbeddedPostgres
from tests.reliability.job_chaos import Workers, fault, reachable_folder
from tests.reliability.netra_worker import CREDITS
from tests.services.netra.support import picture

WORKER = (sys.executable, "-m", "tests.reliability.netra_worker")
#: One photograph in so many is a JPEG by its first bytes and nothing after them.
ONE_BAD_IN = 10
OWNERS = 3
Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True)
class Found:
    """What is true at the end."""

    statuses: dict[str, int]
    announced: dict[str, int]
    """How many events of each kind are in the outbox: one for each end that became true."""
    announced_twice: int
    ledger: dict[str, int]
    balanced: bool
    """Whether every account is the sum of its ledger."""
    spent: int
    died: int
    """Analyses that lost a worker."""
    seconds: float
    exits: list[int]


async def chaos(folder: Path, *, jobs: int, rounds: int, outage_s: float = 0) -> Found:
    """Submit `jobs` photographs, and while three workers analyse them let faults follow."""
    os.environ["NETRA_CHAOS_OBJECTS"] = str(folder / "objects")
    server = EmbeddedPostgres(folder / "home")
    url = await asyncio.to_thread(server.start)
    workers = Workers(url, folder, WORKER)
    engine = create_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        await migrate(url, "netra")
        begun = time.monotonic()
        await _submit(sessions, folder, jobs)
        workers.start(3)
        await _until_live(sessions, jobs - jobs // 10)
        for number in range(rounds):
            await fault(workers, server, number, outage_s=outage_s)
        await _until_live(sessions, 0)
        seconds = time.monotonic() - begun
        exits = await asyncio.to_thread(workers.stop)
        return await _count(sessions, seconds, exits)
    finally:
        del os.environ["NETRA_CHAOS_OBJECTS"]
        await asyncio.to_thread(workers.stop)
        await engine.dispose()
        await asyncio.to_thread(server.stop)


async def _submit(sessions: Sessions, folder: Path, jobs: int) -> None:
    """As clients do: charged and queued, one transaction each, some of them broken."""
    analyses = Analyses(sessions, sessions, LocalObjects(folder / "objects"), CREDITS)
    owners = [OwnerId(uuid4()) for _ in range(OWNERS)]
    async with sessions.begin() as session:
        for owner in owners:
            hook = {"id": uuid4(), "tenant": str(owner), "url": "https://203.0.114.9/"}
            await session.execute(insert(WebhookRow).values(**hook, secret="s", events=["*"]))
    for number in range(jobs):
        good = picture(level=number % 250)
        image = good if number % ONE_BAD_IN else good[:40] + bytes(number)
        owner = owners[number % OWNERS]
        await analyses.submit(Submission(owner, "bob", [Photograph(image)]))


async def _until_live(sessions: Sessions, most: int) -> None:
    """Wait until at most so many analyses have not ended, whatever becomes of the database."""
    query = select(func.count()).where(AnalysisRow.status.in_(("queued", "running")))
    while True:
        try:
            async with sessions() as session:
                if (await session.scalar(query) or 0) <= most:
                    return
        except DatabaseAway:
            pass
        await asyncio.sleep(0.1)


async def _count(sessions: Sessions, seconds: float, exits: list[int]) -> Found:
    async with sessions() as session:
        rows = (await session.scalars(select(AnalysisRow))).all()
        told = (await session.scalars(select(WebhookDeliveryRow))).all()
        movements = (await session.scalars(select(LedgerRow))).all()
        accounts = (await session.scalars(select(AccountRow))).all()
    of_owner: collections.Counter[str] = collections.Counter()
    for movement in movements:
        of_owner[str(movement.owner)] += movement.amount
    ends = collections.Counter(json.loads(each.body)["data"]["id"] for each in told)
    return Found(
        statuses=dict(collections.Counter(row.status for row in rows)),
        announced=dict(collections.Counter(each.event for each in told)),
        announced_twice=sum(count > 1 for count in ends.values()),
        ledger=dict(collections.Counter(movement.kind for movement in movements)),
        balanced=all(account.credits == of_owner[str(account.owner)] for account in accounts),
        spent=sum(CREDITS - account.credits for account in accounts),
        died=sum(row.deaths > 0 for row in rows),
        seconds=round(seconds, 1),
        exits=exits,
    )


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=900)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--outage-s", type=float, default=60)
    wish = parser.parse_args()
    with reachable_folder() as folder:
        found = asyncio.run(
            chaos(folder, jobs=wish.jobs, rounds=wish.rounds, outage_s=wish.outage_s)
        )
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
