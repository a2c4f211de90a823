"""bqat's worker: within the service, and as a process of its own by `vedette worker bqat`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import cv2
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from services.bqat.analysing import Analyst
from services.bqat.crew import Crew
from services.bqat.handling import Tasks
from services.bqat.preprocessing import Preprocessor
from services.bqat.scanning import Scanner
from services.bqat.settings import Settings
from services.bqat.sources import DataFolder, ObjectPrefix, StoredFiles
from services.bqat.tables import SCHEMA, TASKS
from shared.cores import usable_cores
from shared.db import create_engine
from shared.imaging import DecodePool, Limits
from shared.jobs import Patience, Worker
from shared.migrations import migrate
from shared.objects import Objects, open_objects

#: Two tasks at once have a connection each, and a few statements beside them.
WORKER_CONNECTIONS = 6


@dataclass(frozen=True, slots=True)
class Bench:
    """What tasks need."""

    crew: Crew
    data: DataFolder
    objects: Objects
    analyst: Analyst
    worker: Worker


@asynccontextmanager
async def open_bench(
    settings: Settings, engine: AsyncEngine, *, concurrency: int, crew: Crew | None = None
) -> AsyncIterator[Bench]:
    """Open what tasks need, and a worker that does not run yet.

    Args:
        settings: of bqat.
        engine: for the worker's own statements.
        concurrency: how many tasks at once; 0 leaves them to other processes.
        crew: who assesses samples; unset: as many processes as the settings say.
    """
    # Every process assesses one sample at a time; OpenCV's own threads would only fight.
    cv2.setNumThreads(1)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    objects = open_objects(f"{settings.object_store_url}/{SCHEMA}")
    settings.data_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    data = DataFolder(settings.data_folder, max_file_bytes=settings.bqat_max_file_bytes)
    inputs = (
        None
        if settings.bqat_inputs_url is None
        else ObjectPrefix(settings.bqat_inputs_url, max_file_bytes=settings.bqat_max_file_bytes)
    )
    crew = crew or Crew(
        settings.bqat_processes or settings.threads or usable_cores(),
        timeout_s=settings.bqat_file_timeout_s,
        memory_bytes=settings.bqat_process_memory_bytes,
        home=settings.home,
    )
    limits = Limits(max_bytes=settings.bqat_max_file_bytes)
    async with crew, DecodePool(1, limits) as decoder:
        analyst = Analyst(sessions, objects)
        scanner = Scanner(
            sessions,
            crew,
            data,
            StoredFiles(objects),
            inputs,
            chunk_files=settings.bqat_chunk_files,
        )
        tasks = Tasks(sessions, scanner, analyst, Preprocessor(data, decoder))
        worker = Worker(
            TASKS,
            tasks,
            engine,
            settings.require_database_url(),
            concurrency=concurrency,
            patience=Patience(grace_s=max(1.0, settings.stop_grace_s - 2)),
        )
        yield Bench(crew, data, objects, analyst, worker)


@asynccontextmanager
async def open_worker() -> AsyncIterator[Worker]:
    """For `vedette worker bqat`."""
    settings = Settings()
    database_url = settings.require_database_url()
    await migrate(database_url, SCHEMA)
    engine = create_engine(database_url, pool_size=WORKER_CONNECTIONS)
    try:
        concurrency = max(1, settings.bqat_workers)
        async with open_bench(settings, engine, concurrency=concurrency) as bench:
            yield bench.worker
    finally:
        await engine.dispose()
