"""What nobody refers to goes, now and then, whatever is away meanwhile."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.background import running
from shared.objects import ObjectNotFound, open_objects
from shared.problems import Unavailable
from shared.sweeping import sweep_for_ever

Sessions = async_sessionmaker[AsyncSession]


@pytest.mark.parametrize("failure", [PoolTimeout("no connection"), Unavailable("away"), OSError()])
async def test_a_sweep_that_fails_is_not_the_last(
    tmp_path: Path, sessions: Sessions, failure: Exception
) -> None:
    """An exhausted pool, a database or a disk that is away: the next sweep does the work."""
    objects = open_objects(f"file://{tmp_path}/objects")
    kept, forgotten = await objects.put(b"kept"), await objects.put(b"forgotten")
    asked = 0

    async def referenced(_: AsyncSession, names: Sequence[str]) -> set[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise failure
        return {kept} & set(names)

    sweeping = sweep_for_ever(objects, sessions, referenced, every_s=0.01, age_s=0)
    async with running(sweeping), asyncio.timeout(10):
        while asked < 3:
            await asyncio.sleep(0.01)

    assert await objects.get(kept) == b"kept"
    with pytest.raises(ObjectNotFound):
        await objects.get(forgotten)
