"""Verifies a package in a process of its own, with bounded memory and time.

What comes from elsewhere may break the runtime that reads it; then it is this process that ends,
and the answer is a refusal.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from shared.inference.package import load_package
from shared.inference.refusal import PackageRefused, Reason

_GIGABYTE = 1 << 30
_REFUSED = 3
# Python is told where this code lies and, by -P, to look for none in the current folder.
_ROOT = Path(__file__).parents[2]


def verify_apart(folder: Path, *, timeout_s: float = 300.0, max_memory_gb: int = 16) -> float:
    """Verify the package in `folder` as `load_package` does.

    Returns:
        The largest deviation of its test vectors.

    Raises:
        PackageRefused: with the reason.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "shared.inference.apart",
        str(folder),
        str(max_memory_gb),
    ]
    try:
        # The arguments are ours and no shell reads them.
        ended = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
    except subprocess.TimeoutExpired as error:
        raise PackageRefused(
            Reason.TIMED_OUT, f"verification took longer than {timeout_s:g} s"
        ) from error
    if ended.returncode not in (0, _REFUSED):
        raise PackageRefused(
            Reason.BAD_GRAPH, f"the runtime broke on it (exit status {ended.returncode})"
        )
    answer = json.loads(ended.stdout)
    if ended.returncode == _REFUSED:
        raise PackageRefused(Reason(answer["reason"]), answer["detail"])
    return float(answer["worst_deviation"])


def main(folder: str, max_memory_gb: str) -> int:
    """Verify one package and print the outcome as JSON."""
    limit = int(max_memory_gb) * _GIGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        package = load_package(Path(folder))
    except PackageRefused as refused:
        outcome: dict[str, object] = {"reason": str(refused.reason), "detail": refused.detail}
        status = _REFUSED
    else:
        outcome, status = {"worst_deviation": package.worst_deviation}, 0
    sys.stdout.write(json.dumps(outcome))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
