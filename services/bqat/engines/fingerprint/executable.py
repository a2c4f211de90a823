"""The score of NIST's own `nfiq2` program, where it is installed: nothing here imitates it."""

import csv
import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
from structlog import get_logger

from services.bqat.engines.fingerprint.blocks import Gray

log = get_logger(__name__)

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class NativeScore:
    """What the program said: a score from 0 to 100, or why there is none."""

    score: int | None
    error: str | None = None


class Nfiq2:
    """Runs the executable on one picture at a time."""

    def __init__(self, executable: str) -> None:
        self._executable = executable

    def score(self, image: Gray) -> NativeScore:
        """The score of `(H, W)` gray pixels at 500 ppi."""
        with tempfile.TemporaryDirectory(prefix="nfiq2-") as folder:
            path = Path(folder) / "finger.png"
            written, encoded = cv2.imencode(".png", image)
            if not written:
                return NativeScore(None, "the picture could not be handed over")
            path.write_bytes(encoded.tobytes())
            try:
                # The arguments are ours alone: a fixed program and a file in a folder of its own.
                done = subprocess.run(  # noqa: S603
                    [self._executable, "-F", "-a", "-i", str(path)],
                    capture_output=True,
                    text=True,
                    timeout=_TIMEOUT_S,
                    check=False,
                    cwd=folder,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                log.warning("nfiq2_failed", kind=type(error).__name__)
                return NativeScore(None, f"the program gave no answer ({type(error).__name__})")
        return parse_answer(done.stdout)


def parse_answer(text: str) -> NativeScore:
    """Read the program's answer: a bare score, or CSV with `QualityScore` and `OptionalError`."""
    stripped = text.strip()
    if stripped.isdigit():
        return _checked(stripped)
    for row in csv.DictReader(io.StringIO(stripped)):
        score, error = row.get("QualityScore") or "", row.get("OptionalError") or ""
        if score.isdigit():
            return _checked(score)
        return NativeScore(None, error.removeprefix("Error: ") or "the program gave no score")
    return NativeScore(None, "the program gave no score")


def _checked(text: str) -> NativeScore:
    score = int(text)
    if score > 100:
        return NativeScore(None, f"the program said {score}, which is no score")
    return NativeScore(score)


def find_nfiq2() -> Nfiq2 | None:
    """The program on the search path, or None."""
    found = shutil.which("nfiq2")
    return None if found is None else Nfiq2(found)
