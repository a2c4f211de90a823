"""Deletes what nobody refers to any more, now and then, for as long as a service runs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.idempotency import IdempotencyKeys
from shared.jobs.errors import AWAY
from shared.objects import Objects, sweep

log = structlog.get_logger(__name__)

#: Which of the given sha256 a row refers to.
Referenced = Callable[[AsyncSession, Sequence[str]], Awaitable[set[str]]]


async def sweep_for_ever(
    objects: Objects,
    sessions: async_sessionmaker[AsyncSession],
    referenced: Referenced,
    *,
    every_s: float,
    age_s: float,
    keys: IdempotencyKeys | None = None,
) -> None:
    """Delete objects that no row refers to, and keys that nobody repeats; whatever is away, go on.

    Args:
        objects: the store.
        sessions: the service's.
        referenced: asks the service's rows.
        every_s: the pause between two sweeps; the first comes after one.
        age_s: longer than the longest upload, since an object is written before its row.
        keys: the service's, where it has any.
    """

    async def referred(sha256s: Sequence[str]) -> set[str]:
        async with sessions.begin() as session:
            return await referenced(session, sha256s)

    while True:
        await asyncio.sleep(every_s)
        try:
            deleted = await sweep(objects, age_s, referred)
            if keys is not None:
                async with sessions.begin() as session:
                    await keys.forget(session)
        except AWAY as error:
            log.warning("sweep_failed", error=type(error).__name__)
        else:
            log.info("objects_swept", deleted=deleted)
