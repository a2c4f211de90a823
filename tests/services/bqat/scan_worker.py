"""`vedette worker bqat` with the stub of the engines: a process that tests may kill."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.bqat.crew import Crew
from services.bqat.settings import Settings
from services.bqat.worker import open_bench
from shared.cli.worker import work_until_told
from shared.db import create_engine
from shared.jobs import Worker
from tests.services.bqat.support import STUB


@asynccontextmanager
async def open_stub_worker() -> AsyncIterator[Worker]:
    """A worker with short leases."""
    settings = Settings()
    engine = create_engine(settings.require_database_url(), pool_size=6)
    crew = Crew(2, module=STUB, home=settings.home)
    try:
        async with open_bench(settings, engine, concurrency=2, crew=crew) as bench:
            yield bench.worker
    finally:
        await engine.dispose()


if __name__ == "__main__":
    sys.exit(asyncio.run(work_until_told(open_stub_worker)))
