"""The whole platform as `vedette up` runs it, on free ports and with a home of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.lifeline import tethered
from tests.database import ROOT
from tests.holding import eventually, server_processes
from tests.running import Running, free_ports

_LOCAL_ADDRESSES_OFF = ("http_proxy", "https_proxy", "all_proxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder starts the whole platform."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that is ready, and who may enter."""

    running: Running
    admin_password: str
    admin_username: str = "admin"

    @property
    def base_url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.running.port}"

    def client(self, **options: object) -> httpx.Client:
        """A client of the gateway that no proxy setting leads astray."""
        return httpx.Client(base_url=self.base_url, timeout=30, trust_env=False, **options)  # type: ignore[arg-type]  # passed on as they are

    def token(self) -> str:
        """An access token of the administrator."""
        with self.client() as client:
            answer = client.post(
                "/api/v2/auth/token",
                data={
                    "grant_type": "password",
                    "username": self.admin_username,
                    "password": self.admin_password,
                },
            )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def is_ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            with self.client() as client:
                return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


def start_platform(home: Path, **settings: str) -> Running:
    """`vedette up` on free ports; the caller ends it."""
    port = free_ports(8)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("VEDETTE_") and name.lower() not in _LOCAL_ADDRESSES_OFF
    }
    process = subprocess.Popen(
        # Tethered, so that it ends with a test run that is killed.
        tethered(
            [sys.executable, "-c", "from shared.cli import main; main()", "up"],
            last_signal=signal.SIGTERM,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=inherited | {"VEDETTE_HOME": str(home), "VEDETTE_PORT": str(port)} | settings,
        start_new_session=True,
    )
    return Running(process, home, port)


def ready_platform(running: Running) -> Platform:
    """Wait for the welcome and read it."""
    running.wait_for("Vedette is ready", within_s=120)
    [password] = running.wait_for(r"password +(\w{24}) ")
    return Platform(running, password)


def end_platform(running: Running) -> None:
    """Stop it, wait until the last of it is gone, and remove its home."""
    if running.process.poll() is None:
        running.end(signal.SIGTERM, within_s=30)
    if running.process.stdout is not None:
        running.process.stdout.close()
    assert eventually(lambda: not server_processes(running.home), within_s=15)
    shutil.rmtree(running.home)


def new_home() -> Path:
    """An empty home that the database's user can reach."""
    home = Path(tempfile.mkdtemp(prefix="vedette-test-")).resolve()
    home.chmod(0o711)
    return home


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The platform that all journeys share; they make users and studies of their own."""
    running = start_platform(new_home())
    try:
        yield ready_platform(running)
    finally:
        end_platform(running)


StartPlatform = Callable[..., Platform]


@pytest.fixture
def own_platform() -> Iterator[StartPlatform]:
    """Start a platform to do harm to: `own_platform(VEDETTE_…="…")`."""
    started: list[Running] = []

    def start(**settings: str) -> Platform:
        running = start_platform(new_home(), **settings)
        started.append(running)
        return ready_platform(running)

    yield start
    for running in started:
        end_platform(running)
