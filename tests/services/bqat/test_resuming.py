"""A scan whose worker is killed goes on where it was: no file is lost, none is there twice."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from shared.db import create_engine
from tests.database import ROOT
from tests.services.bqat.support import as_caller, caller, running_bqat, sample

FILES = 240


def start(url: str, home: Path) -> subprocess.Popen[bytes]:
    """A worker process."""
    environment = {**os.environ, "VEDETTE_DATABASE_URL": url, "VEDETTE_HOME": str(home)}
    environment |= {"VEDETTE_BQAT_CHUNK_FILES": "50"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.services.bqat.scan_worker"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


async def test_a_killed_scan_resumes_at_its_last_checkpoint(
    scratch_database: str, tmp_path: Path
) -> None:
    """Killed with -9 twice in the middle; what was kept before is not assessed again."""
    me = as_caller(caller())
    engine = create_engine(scratch_database)
    sessions = async_sessionmaker(engine)

    async def kept() -> int:
        async with sessions() as session:
            return int(await session.scalar(text("SELECT count(*) FROM bqat.profiles")) or 0)

    async with running_bqat(scratch_database, tmp_path, bqat_workers=0) as bqat:
        folder = bqat.data / "many"
        folder.mkdir(parents=True)
        for number in range(FILES):
            order = sample(sleep=0.02, profile={"number": number})
            (folder / f"{number:04}.jpg").write_bytes(order)
        answer = await bqat.client.post(
            "/scan/local", params={"modality": "face"}, json={"input": "many"}, headers=me
        )
        tid = answer.json()["tid"]
        worker = start(scratch_database, tmp_path)
        try:
            for goal in (30, 110):
                async with asyncio.timeout(60):
                    while await kept() < goal:
                        await asyncio.sleep(0.05)
                worker.kill()
                worker.wait()
                async with sessions.begin() as session:
                    # The lease of 30 s is over at once, so that the test need not wait for it.
                    await session.execute(text("UPDATE bqat.tasks SET lease_until = now()"))
                worker = start(scratch_database, tmp_path)
            task = await bqat.finish(me, tid)
        finally:
            worker.terminate()
            worker.wait(30)
        profiles = (
            await bqat.client.get(f"/scan/{task['collection']}/profiles", headers=me)
        ).json()
    await engine.dispose()

    assert task["status"] == 2
    assert (task["input"], task["finished"]) == (FILES, FILES)
    assert [profile["number"] for profile in profiles] == list(range(FILES))
