"""The tether: a process that ends when the one that started it ends."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shared.lifeline import Account, tethered
from tests.database import ROOT
from tests.holding import eventually
from tests.running import is_alive

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="users are changed only as root")

PARENT = """
    import signal, subprocess, sys
    from shared.lifeline import Account, tethered
    account = Account(65534, 65534) if "nobody" in sys.argv else None
    last = signal.Signals(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(tethered(["/bin/sleep", "60"], last_signal=last, account=account))
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def start_parent(*words: str) -> tuple[subprocess.Popen[str], int]:
    """A process that holds a tethered one, and the number of that one."""
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def runs_sleep(pid: int) -> bool:
    """Whether the tether has become the command."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/bin/sleep")


@pytest.mark.parametrize("last", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("words", [(), pytest.param(("nobody",), marks=needs_root)])
def test_it_ends_with_its_parent(last: signal.Signals, words: tuple[str, ...]) -> None:
    """After kill -9, and also when it runs as another user, whose change makes Linux forget."""
    parent, child = start_parent(str(int(last)), *words)
    assert eventually(lambda: runs_sleep(child), within_s=5)
    parent.kill()
    parent.communicate(timeout=10)

    assert eventually(lambda: not is_alive(child), within_s=5)


def test_it_does_not_start_when_its_parent_is_gone_already() -> None:
    """Between the start and the wish the parent may die, and nobody would send the signal."""
    command = tethered(["/bin/echo", "started"], last_signal=signal.SIGKILL)
    command[command.index("--parent") + 1] = "1"
    orphan = subprocess.run(command, capture_output=True, text=True)

    assert orphan.returncode != 0
    assert orphan.stdout == ""
    assert "parent process is gone" in orphan.stderr


def test_a_missing_program_is_named() -> None:
    """With one line instead of a trace."""
    command = tethered(["/no/such/program"], last_signal=signal.SIGKILL)
    attempt = subprocess.run(command, capture_output=True, text=True)

    assert attempt.returncode != 0
    assert attempt.stderr == "/no/such/program cannot be run: No such file or directory.\n"


@needs_root
def test_it_gives_up_every_privilege() -> None:
    """User, group and supplementary groups are the account's, for good."""
    command = tethered(
        ["/bin/cat", "/proc/self/status"],
        last_signal=signal.SIGKILL,
        account=Account(65534, 65534),
    )
    status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(":", 1) for line in status.splitlines())

    assert facts["Uid"].split() == ["65534"] * 4
    assert facts["Gid"].split() == ["65534"] * 4
    assert facts["Groups"].split() == []
    assert int(facts["CapEff"], 16) == 0
