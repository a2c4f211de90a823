"""What decoding a folder of files costs, measured in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# The peak is read from /proc: `ru_maxrss` survives exec, and so would start at pytest's own size.
_PROBE = """
import json, sys, time
from pathlib import Path
import shared.imaging.dicom
from shared.imaging import decode
from shared.problems import Problem
def peak_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
decode(b"P5 1 1 255 x")
start_mb, files = peak_mb(), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data, at, before_mb = path.read_bytes(), time.process_time(), peak_mb()
    try:
        decode(data)
        outcome = "picture"
    except Problem as problem:
        outcome = problem.slug
    files[path.name] = [outcome, time.process_time() - at, peak_mb() - before_mb]
print(json.dumps([peak_mb() - start_mb, files]))
"""


@dataclass(frozen=True, slots=True)
class FileCost:
    """One file: what came of it, its processor time, and by how much the peak memory rose."""

    outcome: str
    seconds: float
    grown_mb: float


@dataclass(frozen=True, slots=True)
class Cost:
    """All files of a folder, in the order of their names."""

    grown_mb: float
    files: dict[str, FileCost]


def measure(folder: Path) -> Cost:
    """Decode every file of `folder`, with warnings as errors; a crash fails the caller."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROBE, str(folder)],
        capture_output=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        timeout=120,
    )
    grown_mb, files = json.loads(done.stdout)
    return Cost(grown_mb, {name: FileCost(*cost) for name, cost in files.items()})
