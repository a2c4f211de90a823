"""`vedette up`, whole: ready, usable as printed, alive after a death, and gone when it is told."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.database import ROOT
from tests.e2e.conftest import (
    Platform,
    StartPlatform,
    end_platform,
    new_home,
    start_platform,
)
from tests.holding import eventually, server_processes


def processes_of(platform: Platform) -> dict[int, str]:
    """Every process that knows this platform's home, and its command line."""
    found: dict[int, str] = {}
    mark = f"VEDETTE_HOME={platform.running.home}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = line.decode()
            except OSError:
                continue
    return found


def process_of(platform: Platform, module: str) -> int:
    """The process that runs `module`."""
    return next(pid for pid, line in processes_of(platform).items() if f" -m {module}" in line)


def resident_mb(pid: int) -> float:
    """Memory of one process, shared pages counted in proportion (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        # It has just ended.
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def test_the_curl_line_that_is_printed_works_as_printed(platform: Platform) -> None:
    """Pasted into a shell, it answers with a token."""
    line = next(line for line in platform.running.lines if "curl -s" in line)
    command = line[line.index("curl") :]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    answer = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, env=environment, timeout=30
    )

    assert answer.returncode == 0
    token = json.loads(answer.stdout)
    assert token["token_type"] == "bearer"
    with platform.client() as client:
        me = client.get(
            "/api/v2/auth/users/me", headers={"Authorization": f"Bearer {token['access_token']}"}
        )
    assert me.status_code == 200
    assert me.json()["username"] == "admin"


def test_an_assertion_of_the_command_line_opens_a_service(platform: Platform) -> None:
    """`vedette assertion chexray` speaks for the administrator; without it the port is closed."""
    environment = {**os.environ, "VEDETTE_HOME": str(platform.running.home)}
    printed = subprocess.run(
        [sys.executable, "-c", "from shared.cli import main; main()", "assertion", "chexray"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert printed.returncode == 0, printed.stderr
    assert printed.stderr == ""
    url = f"http://127.0.0.1:{platform.running.port + 2}/api/v2/chexray/studies"
    with platform.client() as client:
        refused = client.get(url)
        answered = client.get(url, headers={"Vedette-Assertion": printed.stdout.strip()})

    assert refused.status_code == 401
    assert answered.status_code == 200


def test_the_idle_platform_fits_into_nine_hundred_megabytes(own_platform: StartPlatform) -> None:
    """Supervisor, six services, gateway and database, once what verified networks has gone."""
    platform = own_platform(VEDETTE_NETRA_REST_AFTER_S="1")

    def is_small() -> bool:
        pids = {*processes_of(platform), *server_processes(platform.running.home)}
        return sum(resident_mb(pid) for pid in pids) < 900

    assert eventually(is_small, within_s=20)


@pytest.mark.parametrize(
    "module",
    [
        "services.auth",
        "services.chexray",
        "services.netra",
        "services.fleet",
        "services.bqat",
        "gateway",
    ],
)
def test_a_killed_process_serves_again_by_itself(platform: Platform, module: str) -> None:
    """Whoever dies is started again, and the platform becomes ready again."""
    killed = process_of(platform, module)
    os.kill(killed, signal.SIGKILL)

    assert eventually(lambda: killed not in processes_of(platform), within_s=3)
    assert eventually(platform.is_ready, within_s=20)
    assert platform.token()


def test_a_killed_database_comes_back_and_so_does_everything(platform: Platform) -> None:
    """No process of ours ends with it, and nobody has to be told."""
    before = {pid for pid, line in processes_of(platform).items() if " -m " in line}
    postmaster = platform.running.home / "postgres" / "data" / "postmaster.pid"
    os.kill(int(postmaster.read_text().split()[0]), signal.SIGKILL)

    platform.running.wait_for("the server is gone; it is started again", within_s=5)
    assert eventually(platform.is_ready, within_s=20)
    assert platform.token()
    assert before <= set(processes_of(platform))


def test_sigterm_stops_everything_within_ten_seconds(own_platform: StartPlatform) -> None:
    """Nothing is left, and the status says that all was well."""
    platform = own_platform()
    home = platform.running.home

    assert platform.running.end(signal.SIGTERM, within_s=15) < 10
    assert platform.running.process.returncode == 0
    assert processes_of(platform) == {}
    assert server_processes(home) == []


def test_kill_nine_of_the_supervisor_leaves_nothing(own_platform: StartPlatform) -> None:
    """The kernel ends the services and the database with it."""
    platform = own_platform()
    platform.running.end(signal.SIGKILL)

    assert eventually(lambda: processes_of(platform) == {}, within_s=5)
    assert eventually(lambda: server_processes(platform.running.home) == [], within_s=10)


def test_a_preset_password_opens_the_door_and_is_not_printed() -> None:
    """What the environment sets, the welcome only names."""
    running = start_platform(new_home(), VEDETTE_ADMIN_PASSWORD="a password chosen by hand")
    try:
        running.wait_for("Vedette is ready", within_s=120)
        assert Platform(running, "a password chosen by hand").token()
        assert "chosen by hand" not in running.text
    finally:
        end_platform(running)
