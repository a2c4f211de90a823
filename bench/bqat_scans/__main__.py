"""`python -m bench.bqat_scans [--files 10000]`: the memory of a long scan, and its pace.

Pictures are drawn, PostgreSQL is embedded, the networks are those below VEDETTE_HOME. Prints what
memory the scanning process holds at each tenth, the pace of the scan, and that of its processes
alone, without files, database and jobs around them. (`bench.bqat` compares with a bare loop.)
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import async_sessionmaker

from services.bqat.crew import Crew, Order
from services.bqat.domain import Modality, Sample, Task, Tenant
from services.bqat.service import ScanOrder, Scans
from services.bqat.settings import Settings
from services.bqat.tables import SCHEMA
from services.bqat.worker import open_bench
from shared.db import create_engine
from shared.jobs import JobStatus
from shared.migrations import migrate
from shared.postgres import EmbeddedPostgres

_TENANT = Tenant("bench")
_BARE_FILES = 200
_STUB = "tests.services.bqat.stub_assessor"


def draw(number: int) -> bytes:
    """Something like a face, different every time."""
    lot = np.random.default_rng(number)
    pixels = np.full((320, 256, 3), lot.integers(90, 200, 3), np.uint8)
    cv2.ellipse(pixels, (128, 160), (70, 95), 0, 0, 360, (150, 175, 220), -1)
    for x in (100, 156):
        cv2.circle(pixels, (x + int(lot.integers(-4, 5)), 140), 9, (40, 40, 60), -1)
    cv2.ellipse(pixels, (128, 210), (28, 9), 0, 0, 360, (90, 80, 170), -1)
    noise = lot.integers(0, 25, pixels.shape, dtype=np.uint8)
    written, encoded = cv2.imencode(".jpg", cv2.add(pixels, noise))
    assert written
    return encoded.tobytes()


def resident_mb() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def make(number: int, *, has_engines: bool) -> bytes:
    """A sample for the engines, or one that the tests' stub of them obeys."""
    if has_engines:
        return draw(number)
    return json.dumps({"profile": {f"measure_{n}": number + n / 7 for n in range(30)}}).encode()


async def bare(crew: Crew, *, has_engines: bool) -> float:
    """Samples per second of the processes alone."""
    pictures = [make(number, has_engines=has_engines) for number in range(_BARE_FILES)]
    order = Order(Modality.FACE, None, {})
    slots = asyncio.Semaphore(crew.size * 2)

    async def one(number: int) -> None:
        async with slots:
            await crew.assess(order, Sample(number, f"{number}.jpg", ""), pictures[number])

    await asyncio.gather(*(one(number) for number in range(crew.size)))
    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(_BARE_FILES)))
    return _BARE_FILES / (time.perf_counter() - begun)


async def scan(home: Path, url: str, files: int, *, has_engines: bool) -> None:
    """One scan, watched."""
    installed = Settings().home
    settings = Settings(
        home=installed,
        database_url=SecretStr(url),
        bqat_data=home / "data",
        objects_url=f"file://{home / 'objects'}",
    )
    await migrate(url, SCHEMA)
    engine = create_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    crew = None if has_engines else Crew(2, module=_STUB)
    opening = open_bench(settings, engine, concurrency=2, crew=crew)
    async with opening as bench, bench.worker.running():
        alone = await bare(bench.crew, has_engines=has_engines)
        print(f"{bench.crew.size} processes alone: {alone:.1f} samples/s")
        scans = Scans(sessions, bench.objects, bench.data, bench.crew, bench.analyst, settings)
        task = await scans.scan_folder(ScanOrder(_TENANT, Modality.FACE), "")
        seen: list[float] = []
        while task.status not in (JobStatus.COMPLETED, JobStatus.FAILED):
            await asyncio.sleep(0.5)
            task = await scans.find(task.id, _TENANT)
            if task.progress.done >= files * (len(seen) + 1) / 10:
                seen.append(resident_mb())
        _tell(task, alone, seen)
    await engine.dispose()


def _tell(task: Task, alone: float, seen: list[float]) -> None:
    progress = task.progress
    pace = progress.done / progress.elapsed_s
    print(f"scan: {progress.done} of {progress.total}, {progress.failed} without a profile")
    print(f"scan: {pace:.1f} samples/s, {pace / alone:.0%} of the processes alone")
    print(f"memory in MB at each tenth: {', '.join(f'{each:.0f}' for each in seen)}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--without-engines", action="store_true", help="samples cost nothing")
    wish = parser.parse_args()
    files, has_engines = wish.files, not wish.without_engines
    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as name:
        home = Path(name).resolve()
        home.chmod(0o711)
        (home / "data").mkdir()
        for number in range(files):
            (home / "data" / f"{number:06}.jpg").write_bytes(make(number, has_engines=has_engines))
        server = EmbeddedPostgres(home)
        try:
            asyncio.run(scan(home, server.start(), files, has_engines=has_engines))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
