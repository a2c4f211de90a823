"""Supervisors in processes of their own, whose services are stand-ins."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.lifeline import tethered
from tests.database import ROOT
from tests.holding import eventually, server_processes
from tests.running import Running, free_ports

SCRIPT = Path(__file__).with_name("supervised.py")


Start = Callable[..., Running]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that the database's user could reach."""
    folder = Path(tempfile.mkdtemp(prefix="vedette-test-")).resolve()
    folder.chmod(0o711)
    yield folder
    # A server whose supervisor was killed is still shutting down, and its lock file goes last.
    assert eventually(lambda: not server_processes(folder), within_s=10)
    shutil.rmtree(folder)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start a supervisor: `start(database_url, gateway=[…], auth=[…], environment={…})`."""
    started: list[Running] = []

    def begin(
        database_url: str | None,
        *,
        port: int | None = None,
        environment: dict[str, str] | None = None,
        **extra: list[str],
    ) -> Running:
        port = port or free_ports()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("VEDETTE_")}
        settings = {
            "VEDETTE_HOME": str(home),
            "VEDETTE_PORT": str(port),
            "VEDETTE_STOP_GRACE_S": "0.5",
            "PYTHONPATH": str(ROOT),
        }
        if database_url is not None:
            settings["VEDETTE_DATABASE_URL"] = database_url
        process = subprocess.Popen(
            # Tethered, so that it ends with a test run that is killed.
            tethered([sys.executable, str(SCRIPT), json.dumps(extra)], last_signal=signal.SIGTERM),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=inherited | settings | (environment or {}),
            start_new_session=True,
        )
        running = Running(process, home, port)
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)
        assert running.process.stdout is not None
        running.process.stdout.close()
