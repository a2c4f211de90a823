"""Looks at slides in a process, or on a machine, of its own: `vedette worker scancer`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import cv2
from sqlalchemy.ext.asyncio import async_sessionmaker

from services.scancer.catalogue import Catalogue
from services.scancer.domain import Registration
from services.scancer.following import following
from services.scancer.repository import Models
from services.scancer.settings import Settings
from services.scancer.shelf import Shelf
from services.scancer.slides.desk import open_slides
from shared.db import create_engine
from shared.inference import Engine
from shared.jobs import Worker
from shared.migrations import migrate
from shared.objects import open_objects

#: Connections for the catalogue, claims, effects and the sweeper, beside one for each slide.
_SPARE_CONNECTIONS = 4


@asynccontextmanager
async def open_worker() -> AsyncIterator[Worker]:
    """See `vedette worker`: needs the database and the object store, and nothing else."""
    settings = Settings()
    database_url = settings.require_database_url()
    await migrate(database_url, "scancer")
    async with AsyncExitStack() as opened:
        concurrency = settings.scancer_slide_workers or 1
        database = create_engine(database_url, pool_size=concurrency + _SPARE_CONNECTIONS)
        opened.push_async_callback(database.dispose)
        sessions = async_sessionmaker(database, expire_on_commit=False)

        async def read() -> list[Registration]:
            async with sessions.begin() as session:
                return await Models(session, settings.scancer_max_versions).all()

        objects = open_objects(f"{settings.object_store_url}/scancer/packages")
        engine = opened.enter_context(Engine(settings.device, settings.threads))
        catalogue = Catalogue(engine, Shelf(objects, settings.home), read)
        await catalogue.refresh()
        await opened.enter_async_context(following(database_url, catalogue.refresh))
        cv2.setNumThreads(1)
        _, worker = await opened.enter_async_context(
            open_slides(settings, database, catalogue, concurrency=concurrency)
        )
        yield worker
