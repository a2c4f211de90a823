"""A worker of netra in a process of its own, whose analyser takes its time and always agrees."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import async_sessionmaker

from services.netra.domain import Analysis
from services.netra.service import QUEUE
from services.netra.work import AnalysisHandler, analysis_threads
from shared.cli.worker import work_until_told
from shared.db import create_engine
from shared.imaging import DecodePool, Picture
from shared.jobs import Worker
from shared.objects import LocalObjects
from tests.services.netra.support import DISEASED, LIMITS
from tests.shared.jobs.probe import HASTY

SECONDS_EACH = 0.15
CREDITS = 100_000


class SlowAnalyser:
    """Finds the same on every photograph, after a while."""

    evidence = "research"

    def analyse(self, picture: Picture) -> Analysis:
        """See `Analyser`."""
        time.sleep(SECONDS_EACH)
        return DISEASED


@asynccontextmanager
async def open_slow_worker() -> AsyncIterator[Worker]:
    """What `vedette worker netra` runs, with leases that end soon."""
    url = os.environ["VEDETTE_DATABASE_URL"]
    engine = create_engine(url, pool_size=6)
    try:
        async with DecodePool(2, LIMITS) as decoder:
            with analysis_threads(2) as threads:
                handler = AnalysisHandler(
                    sessions=async_sessionmaker(engine, expire_on_commit=False),
                    objects=LocalObjects(Path(os.environ["NETRA_CHAOS_OBJECTS"])),
                    decoder=decoder,
                    analyser=SlowAnalyser(),
                    threads=threads,
                    first_credits=CREDITS,
                    timeout_s=30,
                )
                yield Worker(QUEUE, handler, engine, url, concurrency=2, patience=HASTY)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    sys.exit(asyncio.run(work_until_told(open_slow_worker)))
