"""Opens everything that slides need, for the service and for workers of their own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.scancer.catalogue import Catalogue
from services.scancer.settings import Settings
from services.scancer.slides.reading import Bounds
from services.scancer.slides.repository import SlideRepository
from services.scancer.slides.service import Allowance, Slides
from services.scancer.slides.tables import KEYS, SLIDES
from services.scancer.slides.work import SlideHandler
from shared.imaging import DecodePool, Limits
from shared.jobs import Worker
from shared.objects import LargeObjects, open_objects, sweep
from shared.problems import Problem

log = structlog.get_logger(__name__)

_SWEEP_EVERY_S = 3600.0
_SWEEP_AGE_S = 86_400.0
#: A plain picture that is decoded whole: three bytes for each pixel, and as much again meanwhile.
_MAX_PICTURE_PIXELS = 64_000_000


def scratch_of(settings: Settings) -> Path:
    """Where uploads lie until they are kept; on the disk of the home, which is large."""
    folder = settings.home / "slides"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def open_slides(
    settings: Settings,
    database: AsyncEngine,
    catalogue: Catalogue,
    *,
    concurrency: int | None = None,
) -> AsyncIterator[tuple[Slides, Worker]]:
    """The desk that takes slides in, and a worker that the caller runs.

    Args:
        settings: the service's.
        database: for queries, claims and effects.
        catalogue: finds the networks.
        concurrency: how many slides at once; None for what the settings say, 0 for none.
    """
    at_once = settings.scancer_slide_workers if concurrency is None else concurrency
    sessions = async_sessionmaker(database, expire_on_commit=False)
    objects = open_objects(f"{settings.object_store_url}/scancer/slides")
    bounds = Bounds(memory_bytes=settings.scancer_slide_memory_bytes)
    scratch = scratch_of(settings)
    async with AsyncExitStack() as opened:
        limits = Limits(max_bytes=bounds.max_picture_bytes, max_pixels=_MAX_PICTURE_PIXELS)
        decoder = await opened.enter_async_context(DecodePool(max(1, at_once), limits))
        slides = Slides(
            sessions=sessions,
            objects=objects,
            catalogue=catalogue,
            decoder=decoder,
            bounds=bounds,
            allowance=Allowance(
                max_file_bytes=settings.scancer_max_slide_bytes,
                max_cells=settings.scancer_max_slide_cells,
                max_slides=settings.scancer_quota_slides,
                max_bytes=settings.scancer_quota_slide_bytes,
            ),
            evidence=settings.evidence,
            scratch=scratch,
        )
        handler = SlideHandler(
            sessions=sessions,
            objects=objects,
            catalogue=catalogue,
            decoder=decoder,
            bounds=bounds,
            scratch=scratch,
            checkpoint_every_s=settings.scancer_slide_checkpoint_s,
        )
        worker = Worker(
            SLIDES, handler, database, settings.require_database_url(), concurrency=at_once
        )
        sweeping = asyncio.create_task(_sweep_for_ever(objects, sessions))
        opened.push_async_callback(_stop, sweeping)
        yield slides, worker


async def _sweep_for_ever(
    objects: LargeObjects, sessions: async_sessionmaker[AsyncSession]
) -> None:
    """Now and then delete files and views that no slide refers to."""

    async def referenced(sha256s: Sequence[str]) -> set[str]:
        async with sessions.begin() as session:
            return await SlideRepository(session).referenced(sha256s)

    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        try:
            deleted = await sweep(objects, _SWEEP_AGE_S, referenced)
            async with sessions.begin() as session:
                await KEYS.forget(session)
        except (Problem, OSError) as error:
            log.warning("sweep_failed", error=type(error).__name__)
        else:
            log.info("slides_swept", deleted=deleted)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
