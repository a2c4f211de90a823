"""The command line, as a person runs it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.assertions import GATEWAY, AssertionVerifier
from shared.cli.doctor import look_at_database, look_at_home, look_at_keys, look_at_platform
from shared.keys import ensure_keys, read_key
from shared.supervisor.settings import SupervisorSettings
from tests.database import ROOT
from tests.running import free_ports

CODE = "from shared.cli import main; main()"


def vedette(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `vedette` answers to `words`."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("VEDETTE_")}
    return subprocess.run(
        [sys.executable, "-c", CODE, *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=inherited | settings,
    )


def test_it_lists_its_commands() -> None:
    """Without a word it explains itself."""
    shown = vedette("--help").stdout

    assert all(command in shown for command in ("up", "doctor", "assertion", "models"))


def test_it_knows_its_version() -> None:
    """`vedette --version`."""
    answer = vedette("--version")

    assert answer.returncode == 0
    assert answer.stdout.startswith("vedette")


def test_help_loads_no_engine_and_no_web_stack() -> None:
    """What is not asked for is not imported."""
    heavy = ("numpy", "onnxruntime", "fastapi", "sqlalchemy", "asyncpg")
    code = f"import shared.cli, sys; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert found.stdout.strip() == "[]"


def test_a_wrong_setting_is_named_without_a_trace() -> None:
    """By the name of its variable."""
    answer = vedette("up", VEDETTE_PORT="many")

    assert answer.returncode == 2
    assert answer.stderr.startswith("VEDETTE_PORT: ")
    assert "Traceback" not in answer.stderr


def test_an_assertion_speaks_for_the_administrator_to_one_service(tmp_path: Path) -> None:
    """Made from the keys in the home; the database is not needed for it."""
    ensure_keys(tmp_path / "keys")
    answer = vedette("assertion", "chexray", VEDETTE_HOME=str(tmp_path))
    key = read_key(tmp_path / "keys", "assertion-chexray")

    caller = AssertionVerifier("chexray", {GATEWAY: key}).verify(answer.stdout.strip())
    assert caller.roles == ("admin",)
    assert {"chexray:read", "chexray:write"} <= caller.scopes


def test_an_assertion_without_keys_says_who_makes_them(tmp_path: Path) -> None:
    """Instead of a trace."""
    answer = vedette("assertion", "auth", VEDETTE_HOME=str(tmp_path))

    assert answer.returncode == 1
    assert "vedette up" in answer.stderr


def test_an_assertion_is_for_a_service_that_exists(tmp_path: Path) -> None:
    """The services are named."""
    answer = vedette("assertion", "radar", VEDETTE_HOME=str(tmp_path))

    assert answer.returncode == 2
    assert "chexray" in answer.stderr


def test_the_doctor_finds_a_fresh_machine_healthy(tmp_path: Path) -> None:
    """Nothing runs yet, and nothing is wrong."""
    settings = {
        "VEDETTE_HOME": "/var/lib/vedette-that-is-not-there"
        if os.geteuid() == 0
        else str(tmp_path),
        "VEDETTE_PORT": str(free_ports(7)),
    }
    answer = vedette("doctor", **settings)

    assert answer.returncode == 0, answer.stdout
    assert "will be started" in answer.stdout


def test_the_doctor_reports_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """With exit status 1 for scripts."""
    answer = vedette(
        "doctor",
        VEDETTE_HOME=str(tmp_path),
        VEDETTE_DATABASE_URL="postgresql://vedette@127.0.0.1:1/vedette",
    )

    assert answer.returncode == 1
    assert "BAD" in answer.stdout
    assert "does not answer" in answer.stdout


def test_keys_that_others_may_read_are_a_fault(tmp_path: Path) -> None:
    """Whoever reads them can speak as anybody."""
    settings = SupervisorSettings(home=tmp_path)
    assert look_at_keys(settings).healthy is None
    ensure_keys(tmp_path / "keys")
    assert look_at_keys(settings).healthy is True
    path = tmp_path / "keys" / "assertion-auth"
    path.chmod(stat.S_IRUSR | stat.S_IROTH)

    finding = look_at_keys(settings)
    assert finding.healthy is False
    assert "assertion-auth" in finding.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_a_home_that_nobody_cannot_reach_is_a_fault(tmp_path: Path) -> None:
    """The folder at fault is named."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    assert look_at_home(SupervisorSettings(home=closed / "home")).healthy is False


def test_free_ports_without_a_platform_are_no_fault(tmp_path: Path) -> None:
    """It is simply not running."""
    settings = SupervisorSettings(home=tmp_path, port=free_ports(7))

    assert look_at_platform(settings).healthy is None
    assert look_at_database(settings).healthy is None
