"""Does analyses: inside the service's process, or by `vedette worker netra` anywhere else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import cv2
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from services.netra.analysing import open_analyser
from services.netra.apart import ApartAnalyser
from services.netra.service import QUEUE
from services.netra.settings import Settings
from services.netra.work import Analyser, AnalysisHandler, analysis_threads
from shared.cores import divide_cores
from shared.db import create_engine
from shared.imaging import DecodePool, Limits
from shared.jobs import Worker
from shared.migrations import migrate
from shared.objects import Objects, open_objects

SERVICE: Final = "netra"
#: Connections for claims, effects and the sweeper, beside one for each job.
_SPARE_CONNECTIONS = 3


def limits_of(settings: Settings) -> Limits:
    """How large a picture may be."""
    return Limits(max_bytes=settings.netra_max_upload_bytes)


def open_store(settings: Settings) -> Objects:
    """Where the pictures are kept."""
    return open_objects(f"{settings.object_store_url}/{SERVICE}")


def at_once(settings: Settings) -> int:
    """How many photographs are analysed at once: one for every two cores, and one at least."""
    if settings.netra_workers is not None:
        return settings.netra_workers
    return max(1, divide_cores(settings.threads).decoding // 2)


def start_analyser(settings: Settings, concurrency: int) -> ApartAnalyser:
    """Start the processes that look at photographs; they end when it closes."""
    return ApartAnalyser(open_analyser, settings, max(1, concurrency))


@asynccontextmanager
async def run_worker(
    settings: Settings, engine: AsyncEngine, analyser: Analyser, objects: Objects, concurrency: int
) -> AsyncIterator[Worker]:
    """A worker with what it needs; the caller runs it.

    Args:
        settings: the service's.
        engine: for claims and effects.
        analyser: looks at the photographs.
        objects: where they are kept.
        concurrency: how many at once; 0 only looks after jobs that others do.
    """
    async with AsyncExitStack() as opened:
        # As many pictures at once as are wanted; OpenCV's own threads would only fight for cores.
        cv2.setNumThreads(1)
        count = max(1, concurrency)
        decoder = await opened.enter_async_context(DecodePool(count, limits_of(settings)))
        threads = opened.enter_context(analysis_threads(count))
        handler = AnalysisHandler(
            sessions=async_sessionmaker(engine, expire_on_commit=False),
            objects=objects,
            decoder=decoder,
            analyser=analyser,
            threads=threads,
            first_credits=settings.netra_credits,
            timeout_s=settings.netra_analysis_timeout_s,
        )
        yield Worker(
            QUEUE,
            handler,
            engine,
            settings.require_database_url(),
            concurrency=concurrency,
        )


@asynccontextmanager
async def open_worker() -> AsyncIterator[Worker]:
    """See `vedette worker`: needs the database and the object store, and nothing else."""
    settings = Settings()
    database_url = settings.require_database_url()
    await migrate(database_url, SERVICE)
    async with AsyncExitStack() as opened:
        concurrency = at_once(settings) or 1
        engine = create_engine(database_url, pool_size=concurrency + _SPARE_CONNECTIONS)
        opened.push_async_callback(engine.dispose)
        analyser = opened.enter_context(start_analyser(settings, concurrency))
        await analyser.load()
        yield await opened.enter_async_context(
            run_worker(settings, engine, analyser, open_store(settings), concurrency)
        )
