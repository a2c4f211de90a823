"""Workers and the database die and stall while jobs are done: none is lost, none is done twice."""

import asyncio
import os
import signal

from sqlalchemy.ext.asyncio import async_sessionmaker

from shared.db import create_engine
from shared.postgres import EmbeddedPostgres
from tests.reliability.job_chaos import chaos, reachable_folder
from tests.shared.jobs.probe import Probe, add_tasks, install, until_status, working


async def test_no_job_is_lost_and_none_is_done_twice() -> None:
    """One worker is killed, one is stopped beyond its lease, and the postmaster is killed."""
    with reachable_folder() as folder:
        found = await chaos(folder, jobs=150, seconds_each=0.2, rounds=1)

    assert found.statuses == {"completed": 150}
    assert (found.lost, found.duplicates) == (0, 0)
    # The faults did hit, and no worker ended because the database went away.
    assert found.died > 0
    assert found.ended_by_themselves == 0
    assert found.exits == [0, 0, 0]


async def test_a_worker_outlives_its_database_and_hears_of_jobs_again() -> None:
    """Idle or at work, it reconnects by itself; what it was doing is finished by the same run."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "home")
        url = await asyncio.to_thread(server.start)
        engine = create_engine(url)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        try:
            await install(url)
            probe = Probe()
            async with working(engine, url, probe) as worker:
                (running,) = await add_tasks(sessions, seconds=1.0)
                await probe.begun.get()
                assert server.process_id is not None
                os.kill(server.process_id, signal.SIGKILL)
                while server.is_running:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(1.5)
                await asyncio.to_thread(server.start)
                await asyncio.wait_for(worker.until_listening(), 20)
                (later,) = await add_tasks(sessions)
                await until_status(sessions, later, "completed")
                done = await until_status(sessions, running, "completed")
            assert done.deaths == 0
        finally:
            await engine.dispose()
            await asyncio.to_thread(server.stop)
