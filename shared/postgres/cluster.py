"""The data folder of the embedded database: made once and whole, and freed of earlier servers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.lifeline import Account, tethered
from shared.postgres.binaries import Binaries
from shared.postgres.errors import PostgresError
from shared.postgres.home import own_folder

USER = DATABASE = "vedette"


def clean_environment() -> dict[str, str]:
    """What the server's programs see: nothing of ours that could change their behaviour."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | {"LC_ALL": "C", "TZ": "UTC"}


def syncs_at_once(major: int) -> bool:
    """Whether a whole file system can be flushed at once instead of file by file."""
    return sys.platform == "linux" and major >= 17


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data folder."""

    folder: Path

    def major(self) -> int | None:
        """The version that made it, None when there is none yet.

        Raises:
            PostgresError: it belongs to another user or is not a data folder.
        """
        try:
            return int((self.folder / "PG_VERSION").read_text().split(".")[0])
        except FileNotFoundError as error:
            if self.folder.exists():
                raise PostgresError(
                    f"{self.folder} exists and is not a PostgreSQL data folder. Move it away."
                ) from error
            return None
        except PermissionError as error:
            raise PostgresError(
                f"{self.folder} belongs to another user (was the platform started as root?). "
                "Use another VEDETTE_HOME, or start it as the user it belongs to."
            ) from error
        except ValueError as error:
            raise PostgresError(f"{self.folder / 'PG_VERSION'} holds no version.") from error

    def require_owner(self, account: Account | None) -> None:
        """Refuse a data folder that the server's user does not own.

        Raises:
            PostgresError: it names both.
        """
        uid = os.geteuid() if account is None else account.uid
        owner = self.folder.stat().st_uid
        if owner != uid:
            raise PostgresError(
                f"{self.folder} belongs to the user {owner}, and the database server would run as "
                f"{uid}. Start the platform as the user that made it, or use another VEDETTE_HOME."
            )

    def create(self, binaries: Binaries, account: Account | None, *, durable: bool) -> None:
        """Run initdb beside the final place and move the result there when it is whole.

        A first start that was killed half-way leaves only the folder beside, which the next one
        removes.
        """
        partial = self.folder.with_name(f"{self.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        own_folder(partial, account)
        locale = ["--locale=C"]
        if binaries.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(
            [
                binaries.program("initdb"),
                f"--pgdata={partial}",
                f"--username={USER}",
                "--auth=peer",
                "--encoding=UTF8",
                *locale,
                "--data-checksums",
                "--no-instructions",
                "--no-sync",
            ],
            account,
        )
        # The single-user server makes the database without a client, a socket or a password.
        self._run(
            [
                binaries.program("postgres"),
                "--single",
                "-D",
                str(partial),
                "-c",
                "fsync=off",
                "postgres",
            ],
            account,
            stdin=f"CREATE DATABASE {DATABASE};\n",
        )
        if durable:
            # Once for all of it, when it is whole.
            method = ["--sync-method=syncfs"] if syncs_at_once(binaries.major) else []
            self._run(
                [binaries.program("initdb"), "--sync-only", *method, f"--pgdata={partial}"],
                account,
            )
        partial.rename(self.folder)
        parent = os.open(self.folder.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _run(self, command: list[str], account: Account | None, stdin: str = "") -> None:
        result = subprocess.run(  # noqa: S603 (PostgreSQL's own programs)
            tethered(command, last_signal=signal.SIGKILL, account=account),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env=clean_environment(),
            start_new_session=True,
        )
        if result.returncode != 0 or "ERROR:" in result.stdout or "FATAL:" in result.stdout:
            raise PostgresError(
                f"{Path(command[0]).name} could not make the database in {self.folder}: "
                f"{explain(result.stdout.splitlines())}"
            )

    @property
    def name(self) -> str:
        """What this cluster's processes carry in their titles.

        The folder's inode survives a move and is not shared by a copy, so a process with this
        name works on this folder and on no other.
        """
        status = self.folder.stat()
        return f"vedette-{status.st_dev:x}-{status.st_ino:x}"

    def process_ids(self) -> list[int]:
        """Server processes that work on this folder, whoever started them."""
        name = self.name
        return [
            pid
            for pid, command in _processes()
            if name in command.replace("=", " ").replace(":", " ").split()
        ]

    def end_strays(self, *, patience_s: float = 10.0) -> int:
        """End what an earlier server left running on this folder; return how many there were.

        A server whose parent was killed is shutting down already and is given time for it.
        """
        strays = self.process_ids()
        count = len(strays)
        for last_word, wait_s in (
            (signal.SIGINT, patience_s),
            (signal.SIGQUIT, 3.0),
            (signal.SIGKILL, 3.0),
        ):
            if not strays:
                break
            postmaster = self.postmaster_id()
            # Backends follow their postmaster; a signal of their own is for those without one.
            led = postmaster in strays and last_word != signal.SIGKILL
            for pid in strays:
                if pid == postmaster or not led:
                    _signal(pid, last_word)
                # One that was paused hears nothing before it goes on.
                _signal(pid, signal.SIGCONT)
            deadline = time.monotonic() + wait_s
            while (strays := self.process_ids()) and time.monotonic() < deadline:
                time.sleep(0.02)
        if strays:
            raise PostgresError(f"Server processes {strays} on {self.folder} cannot be ended.")
        return count

    def postmaster_id(self) -> int | None:
        """The process that the lock file names, if there is one."""
        try:
            return int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def drop_stale_lock(self) -> None:
        """Remove a lock file whose process is gone or is something else by now.

        In a container, process numbers repeat at every start, and PostgreSQL would take an
        unrelated process of the same user for its predecessor. A PostgreSQL that was started by
        hand on this folder is left alone: then the server refuses to start, and says why.
        """
        pid = self.postmaster_id()
        if pid is None:
            return
        command = dict(_processes()).get(pid, "")
        if "postgres" not in command or " cluster_name=vedette-" in command:
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def is_ready(self, pid: int) -> bool:
        """Whether the server `pid` has recovered and takes connections."""
        try:
            lines = (self.folder / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[-1].strip() == "ready"


def _processes() -> Iterator[tuple[int, str]]:
    """Number and command line of every process one can see; a zombie's line is empty."""
    if sys.platform == "linux":
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    line = Path(entry.path, "cmdline").read_bytes()
                except OSError:
                    continue
                yield int(entry.name), line.replace(b"\0", b" ").decode(errors="replace")
        return
    listing = subprocess.run(
        ["/bin/ps", "-axo", "pid=,command="], capture_output=True, text=True, errors="replace"
    )
    for line in listing.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise PostgresError(
            f"The process {pid} works on this database and belongs to another user."
        ) from error


def explain(lines: list[str]) -> str:
    """The last words of a server, and what they mean where that is known."""
    text = "\n".join(lines[-6:]).strip() or "it said nothing."
    if any("No space left on device" in line for line in lines):
        return f"the disk is full. What was committed is safe; free some space.\n{text}"
    if any("could not map anonymous shared memory" in line for line in lines):
        return f"there is not enough memory for the database.\n{text}"
    return text
