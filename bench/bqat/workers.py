"""What runs inside the processes of the bare loop."""

import time
from collections.abc import Sequence
from pathlib import Path

from services.bqat.engines import Assessor, create_assessor
from shared.settings import Settings

_worker: Assessor | None = None


def start_worker(home: str) -> None:
    """Load the networks of a process once."""
    global _worker
    _worker = create_assessor(Settings(home=Path(home)))


def run_bare(paths: Sequence[str], engine: str, seconds: float) -> tuple[int, float]:
    """Assess files from memory until the time is over: how many, in how much processor time."""
    if _worker is None:
        raise RuntimeError("the process was not started as a worker")
    contents = [Path(path).read_bytes() for path in paths]
    used = time.process_time()
    count, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        content = contents[count % len(contents)]
        _worker.assess("face", content, file_name="bench", engine=engine, options={})
        count += 1
    return count, time.process_time() - used
