"""Opens everything that slides need, for the service and for workers of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from services.scancer.catalogue import Catalogue
from services.scancer.settings import Settings
from services.scancer.slides.reading import Bounds
from services.scancer.slides.repository import SlideRepository
from services.scancer.slides.service import Allowance, Slides
from services.scancer.slides.tables import KEYS, SLIDES
from services.scancer.slides.work import SlideHandler
from shared.background import running
from shared.imaging import DecodePool, Limits
from shared.jobs import Worker
from shared.objects import open_objects
from shared.sweeping import sweep_for_ever

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
        await opened.enter_async_context(
            running(
                sweep_for_ever(
                    objects,
                    sessions,
                    lambda session, names: SlideRepository(session).referenced(names),
                    every_s=_SWEEP_EVERY_S,
                    age_s=_SWEEP_AGE_S,
                    keys=KEYS,
                )
            )
        )
        yield slides, worker
