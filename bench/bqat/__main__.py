"""Measures scans of faces against a bare loop: `python -m bench.bqat --home HOME --faces FOLDER`.

The bare loop is one process per core that assesses files which it holds in memory, and nothing
else. A scan is what a user starts: the service lists a folder, hands samples to its processes,
collects profiles and writes them, with a real PostgreSQL. They take turns; the share is the
median of the rounds' ratios, because the machine is shared. Where others use the machine too, the
processor time per image says more.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.bqat.scans import ScanningService
from bench.bqat.workers import run_bare, start_worker
from shared.cores import usable_cores
from shared.postgres import make_home
from shared.settings import Settings

_NETWORKS = (
    "yunet",
    "mediapipe-face-mesh",
    "mediapipe-iris",
    "head-pose",
    "fsanet-var",
    "open-closed-eye",
    "glasses",
    "mediapipe-selfie",
)


def bare_rate(
    pool: ProcessPoolExecutor, cores: int, paths: Sequence[str], engine: str, seconds: float
) -> tuple[float, float]:
    """Files per second of one bare loop per core, and the processor time of one file."""
    started = time.perf_counter()
    loops = [pool.submit(run_bare, paths, engine, seconds) for _ in range(cores)]
    results = [loop.result() for loop in loops]
    total = sum(count for count, _ in results)
    used = sum(seconds_used for _, seconds_used in results)
    return total / (time.perf_counter() - started), used / max(1, total)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.bqat", description=__doc__)
    parser.add_argument("--home", type=Path, default=Settings().home, help="where networks are")
    parser.add_argument(
        "--faces",
        type=Path,
        default=Path(os.environ.get("VEDETTE_ASSETS", ".")) / "face",
        help="a folder of portraits",
    )
    parser.add_argument("--files", type=int, default=400, help="files in a scan")
    parser.add_argument("--seconds", type=float, default=15, help="of a bare loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--engines", nargs="+", default=["bqat", "ofiq", "fusion"])
    chosen = parser.parse_args()
    portraits = [path for path in sorted(chosen.faces.iterdir()) if path.is_file()]
    paths = [str(path) for path in portraits]
    models = (chosen.home / "models").absolute()
    absent = [name for name in _NETWORKS if not (models / name).is_dir()]
    if absent:
        raise SystemExit(f"not installed: {', '.join(absent)}; `vedette models pull` fetches them")
    table = Table(title=f"{len(paths)} portraits, all networks, {chosen.cores} processes")
    for head in (
        "engine",
        "bare, images/s",
        "scan, images/s",
        "share",
        "bare, processor ms",
        "scan, processor ms",
        "share",
    ):
        table.add_column(head, justify="right")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        home = make_home(Path(folder) / "home")
        with (
            ProcessPoolExecutor(
                chosen.cores,
                mp_context=get_context("spawn"),
                initializer=start_worker,
                initargs=(str(chosen.home),),
            ) as pool,
            ScanningService(home, models, portraits, chosen.files, chosen.cores) as service,
        ):
            service.scan("bqat")  # loads the networks of its processes
            for engine in chosen.engines:
                rows = []
                for _ in range(chosen.rounds):
                    bare, bare_cost = bare_rate(pool, chosen.cores, paths, engine, chosen.seconds)
                    scan, scan_cost = service.scan(engine)
                    rows.append((bare, scan, scan / bare, bare_cost, scan_cost))
                bare, scan, share, bare_cost, scan_cost = (
                    statistics.median(column) for column in zip(*rows, strict=True)
                )
                table.add_row(
                    engine,
                    f"{bare:.1f}",
                    f"{scan:.1f}",
                    f"{share:.2f}",
                    f"{1000 * bare_cost:.0f}",
                    f"{1000 * scan_cost:.0f}",
                    f"{bare_cost / scan_cost:.2f}",
                )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
