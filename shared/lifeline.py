"""Processes that cannot outlive the one that started them, not even when it is killed with -9.

The kernel offers this (PR_SET_PDEATHSIG), but forgets the wish when a process changes its user.
So the command is started through this file, run as a script: it gives up the privileges first,
makes the wish second, looks whether its parent is still there, and only then becomes the command.
It needs nothing but the standard library, so that it starts in a few hundredths of a second.

On systems without that offer (macOS) the command simply runs; what it leaves behind after a
kill -9 is found and ended at the next start.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of a user and a group that a process runs as."""

    uid: int
    gid: int


def tethered(
    command: Sequence[str], *, last_signal: signal.Signals, account: Account | None = None
) -> list[str]:
    """The command line that runs `command` so that it gets `last_signal` when its parent dies.

    The parent is the *thread* that starts it: start it from a thread that lives as long as the
    command should.

    Args:
        command: program and arguments; the program is an absolute path.
        last_signal: what the kernel sends when the parent is gone.
        account: whom to run as; only root may choose.
    """
    tether = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    tether += ["--parent", str(os.getpid()), "--signal", str(int(last_signal))]
    if account is not None:
        tether += ["--uid", str(account.uid), "--gid", str(account.gid)]
    return [*tether, "--", *command]


def _become(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="lifeline")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("command", nargs="+")
    wish = parser.parse_args(argv)
    if wish.uid is not None:
        os.setgroups([])
        os.setgid(wish.gid)
        os.setuid(wish.uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, wish.signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if wish.signal != signal.SIGKILL:
        # A shell starts its background jobs deaf to SIGINT, and that is inherited.
        signal.signal(wish.signal, signal.SIG_DFL)
    # The parent may have died before the wish was made; then nobody will send the signal.
    if os.getppid() != wish.parent:
        sys.exit(f"{wish.command[0]} was not started: its parent process is gone.")
    try:
        os.execv(wish.command[0], wish.command)  # noqa: S606 (no shell is the point)
    except OSError as error:
        sys.exit(f"{wish.command[0]} cannot be run: {error.strerror}.")


if __name__ == "__main__":
    _become(sys.argv[1:])
