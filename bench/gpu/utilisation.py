"""How busy a GPU is, as its driver counts it."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean

_EVERY_MS = 100


@dataclass(slots=True)
class Watch:
    """Samples of the driver: when, and the share of the time in which some kernel ran."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def busy_since(self, began_at: float) -> float:
        """The mean share since `began_at` (of `time.perf_counter`); 0 without samples."""
        shares = [share for at, share in self.samples if at > began_at + _EVERY_MS / 1e3]
        return mean(shares) if shares else 0.0

    def follow(self, lines: Iterator[str]) -> None:
        """Note every figure, in percent, as it comes."""
        for line in lines:
            with contextlib.suppress(ValueError):  # "[N/A]", where the driver does not count
                self.samples.append((time.perf_counter(), float(line) / 100))


@contextlib.contextmanager
def watching(ordinal: int = 0) -> Iterator[Watch]:
    """Watch a GPU with `nvidia-smi`; without that program there are no samples."""
    watch = Watch()
    command = [
        "nvidia-smi", "-i", str(ordinal), "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits", "-lms", str(_EVERY_MS),
    ]  # fmt: skip
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield watch
        return
    assert process.stdout is not None
    reader = threading.Thread(target=watch.follow, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        process.terminate()
        process.wait(5)
        reader.join(5)
