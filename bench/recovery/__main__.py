"""Kills every program of a platform and times its return: `python -m bench.recovery [--rounds 3]`.

The platform is `vedette up` with a home of its own and all six services. One program after the
other, and the database last, is killed with -9; the time ends when a request through the gateway
that this program has to answer (the database: a login) is answered as before.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil

from shared.lifeline import tethered
from shared.postgres import make_home

PORT = 18_700
_START_TIMEOUT_S = 120
_ANSWER_TIMEOUT_S = 60
_POLL_S = 0.01
_PASSWORD = "bench-recovery-password"  # noqa: S105 (of a platform that lives for a minute)
#: A request that only this program can answer, and that needs nothing to be stored before.
PATHS = {
    "services.chexray": "/api/v2/chexray/studies",
    "services.netra": "/api/v2/netra/analyses",
    "services.scancer": "/v2/models/pcam-classification/ready",
    "services.fleet": "/api/v2/fleet/trucks",
    "services.bqat": "/api/v2/bqat/scans",
    "gateway": "/api/v2/chexray/studies",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is killed, and how one sees that it serves."""

    name: str
    pid: Callable[[], int]
    serves: Callable[[], bool]


class Platform:
    """`vedette up`, and an administrator's requests to it."""

    def __init__(self, home: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VEDETTE_")}
        environment |= {
            "VEDETTE_HOME": str(home),
            "VEDETTE_PORT": str(PORT),
            "VEDETTE_ADMIN_PASSWORD": _PASSWORD,
        }
        self._home = home
        self._process = subprocess.Popen(
            tethered(
                [sys.executable, "-c", "from shared.cli import main; main()", "up"],
                last_signal=signal.SIGTERM,
            ),
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{PORT}", timeout=_ANSWER_TIMEOUT_S, trust_env=False
        )

    def log_in(self) -> bool:
        """Ask auth for a token; later requests carry it."""
        if self._process.poll() is not None:
            raise SystemExit("the platform has ended")
        try:
            answer = self._client.post(
                "/api/v2/auth/token",
                data={"grant_type": "password", "username": "admin", "password": _PASSWORD},
            )
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return True

    def answers(self, path: str) -> bool:
        """Whether this request is answered."""
        try:
            return self._client.get(path).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def is_ready(self) -> bool:
        """Whether every service says so."""
        return self.answers("/readyz")

    def pid_of(self, module: str) -> int:
        """The process that runs `python -m module`; the parent of those it started."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            if process.cmdline()[-2:] == ["-m", module]:
                return process.pid
        raise SystemExit(f"{module} does not run")

    def postmaster(self) -> int:
        """The database's first process."""
        return int((self._home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    def targets(self) -> list[Target]:
        """Every program, and the database."""
        programs = [
            Target(name, partial(self.pid_of, name), partial(self.answers, path))
            for name, path in PATHS.items()
        ]
        auth = Target("services.auth", partial(self.pid_of, "services.auth"), self.log_in)
        return [auth, *programs, Target("database", self.postmaster, self.log_in)]

    def stop(self) -> None:
        """End it."""
        self._client.close()
        self._process.terminate()
        self._process.wait(30)


def wait_until(condition: Callable[[], bool], within_s: float) -> float:
    """Seconds until `condition` held."""
    begun = time.perf_counter()
    while not condition():
        if time.perf_counter() - begun > within_s:
            raise SystemExit(f"not within {within_s} s")
        time.sleep(_POLL_S)
    return time.perf_counter() - begun


def kill(target: Target) -> float:
    """Kill it, and return after how many seconds it served again."""
    begun = time.perf_counter()
    process = psutil.Process(target.pid())
    process.send_signal(signal.SIGKILL)
    # Its parent has to have seen its end: an answer before that may have been the dead one's.
    wait_until(lambda: not process.is_running(), _ANSWER_TIMEOUT_S)
    wait_until(target.serves, _ANSWER_TIMEOUT_S)
    return time.perf_counter() - begun


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    home = Path(tempfile.mkdtemp(prefix="vedette-bench-"))
    home.chmod(0o711)  # the database's user passes through
    platform = Platform(make_home(home))
    try:
        wait_until(platform.log_in, _START_TIMEOUT_S)
        wait_until(platform.is_ready, _START_TIMEOUT_S)
        print(f"{'killed':<18}serves again after, s: median (each of {rounds})")
        for target in platform.targets():
            wait_until(target.serves, _ANSWER_TIMEOUT_S)
            seconds = []
            for _ in range(rounds):
                seconds.append(kill(target))
                wait_until(platform.is_ready, _ANSWER_TIMEOUT_S)
            each = ", ".join(f"{value:.2f}" for value in seconds)
            print(f"{target.name:<18}{statistics.median(seconds):.2f} ({each})", flush=True)
    finally:
        platform.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
