"""Resolves the dependencies once and writes every lock.

One is for `make run`, one for `make test`, one for each image. Locks hold hashes and no
addresses, so any package index will do.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMAGES = ("gateway", "auth", "chexray", "netra", "fleet", "bqat", "scancer")


def resolve(output: Path, *arguments: str) -> None:
    """Write one lock for every platform and Python version the project supports."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "pyproject.toml"]
    command += [*arguments, "--output-file", str(output)]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  # our own arguments only


def main() -> None:
    """Resolve the widest set first; the others may only choose from it."""
    everything = ROOT / "requirements-dev.lock"
    resolve(everything, "--group", "dev", "--upgrade")
    chosen = ("--constraints", str(everything))
    resolve(ROOT / "requirements.lock", "--group", "run", *chosen)
    for image in IMAGES:
        resolve(ROOT / "deploy" / "locks" / f"{image}.lock", "--group", image, *chosen)
    cuda = ROOT / "deploy" / "locks" / "chexray-cuda.lock"
    resolve(cuda, "--group", "chexray", "--extra", "cuda", *chosen)


if __name__ == "__main__":
    main()
