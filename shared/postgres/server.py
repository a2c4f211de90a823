"""Start and stop the embedded PostgreSQL, and know whether it runs."""

import contextlib
import fcntl
import os
import pwd
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from shared.lifeline import Account, tethered
from shared.postgres.binaries import find_binaries, reachable_binaries
from shared.postgres.cluster import (
    DATABASE,
    USER,
    Cluster,
    clean_environment,
    explain,
    syncs_at_once,
)
from shared.postgres.errors import PostgresError
from shared.postgres.home import (
    SOCKET_NAME,
    make_home,
    own_folder,
    require_reachable,
    server_account,
    socket_place,
)
from shared.postgres.log import BoundedLog

#: Chosen for a server that shares its machine with the services (RELIABILITY: measured).
OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "max_connections": "200",
    "jit": "off",
    "synchronous_commit": "on",
    "autovacuum_vacuum_cost_delay": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # A refused statement and its details may name a person; the services log what matters.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}

_NOTICE_EVERY_S = 5.0


class HomeInUse(PostgresError):
    """Another process runs the database of this home."""


class _Keeper(threading.Thread):
    """Starts the server, reads what it says, and stays until it is gone.

    The kernel ends a tethered process when the *thread* that started it ends, so the server gets
    a thread of its own, whichever thread asked for it.
    """

    def __init__(self, command: list[str], log: Path, say: Callable[[str], object]) -> None:
        super().__init__(name="postgres", daemon=True)
        self.last_lines: deque[str] = deque(maxlen=40)
        self._command = command
        self._log = BoundedLog(log)
        self._say = say
        self._launched = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None

    def run(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 (PostgreSQL's own program)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=clean_environment(),
                # Ctrl-C is for the supervisor, which stops the database last.
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error
            return
        finally:
            self._launched.set()
        with self._process, contextlib.closing(self._log):
            if self._process.stdout is not None:
                for line in self._process.stdout:
                    text = line.decode(errors="replace").rstrip()
                    self.last_lines.append(text)
                    self._log.write(line)
                    self._say(text)

    def begin(self) -> subprocess.Popen[bytes]:
        """Start, and return the process."""
        self.start()
        self._launched.wait()
        if self._process is None:
            raise PostgresError(f"PostgreSQL cannot be started: {self._failure}.")
        return self._process


def _silent(_: str) -> None:
    """Says nothing: what a server writes is in its log file anyway."""


class EmbeddedPostgres:
    """The database server of one home folder.

    `start` and `stop` block and may be called from any thread; use `asyncio.to_thread` on a loop.
    The server dies with this process, however that ends.
    """

    def __init__(
        self,
        home: Path,
        *,
        binaries: Path | None = None,
        options: Mapping[str, str] | None = None,
        say: Callable[[str], object] = _silent,
    ) -> None:
        """Prepare; nothing is touched before `start`.

        Args:
            home: the platform's folder; made when missing.
            binaries: a bin folder to use instead of the ones found (VEDETTE_PG_BIN).
            options: server settings beside, or instead of, `OPTIONS`.
            say: is told every line the server writes, and what is being waited for.
        """
        self._home = home
        self._preferred = binaries
        self._options = {**OPTIONS, **(options or {})}
        self._say = say
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: _Keeper | None = None
        self._cluster: Cluster | None = None
        self._sockets: Path | None = None
        self._stopping = threading.Event()
        self._turn = threading.RLock()

    @property
    def is_running(self) -> bool:
        """Whether the server's main process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The server's main process while it is alive."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self, *, timeout_s: float | None = None) -> str:
        """Start the server, or start it again after it died, and wait until it takes connections.

        A recovery may take as long as it needs unless `timeout_s` is given; `say` hears of it.

        Returns:
            The database's address, `postgresql://vedette@/vedette?host=<folder>&port=5432`.

        Raises:
            HomeInUse: another process runs the server of this home.
            PostgresError: it cannot run; the text says why.
        """
        with self._turn:
            self._stopping.clear()
            account = server_account()
            home = make_home(self._home)
            if account is not None:
                require_reachable(home, account)
            folder = home / "postgres"
            try:
                folder.mkdir(mode=0o700 if account is None else 0o711, exist_ok=True)
                self._take_lock(folder / "lock")
            except OSError as error:
                raise PostgresError(f"{folder} cannot be used: {error.strerror}.") from error
            try:
                return self._start(folder, account, timeout_s)
            except OSError as error:
                self._stop(patience_s=1.0)
                raise PostgresError(
                    f"PostgreSQL cannot be started: {error.strerror} ({error.filename})."
                ) from error
            except BaseException:
                self._stop(patience_s=1.0)
                raise

    def _start(self, folder: Path, account: Account | None, timeout_s: float | None) -> str:
        cluster = Cluster(folder / "data")
        binaries = find_binaries(self._preferred, cluster.major())
        if account is not None:
            binaries = reachable_binaries(binaries, account, folder)
        if cluster.major() is None:
            self._say("making the database, once")
            durable = self._options.get("fsync") != "off"
            cluster.create(binaries, account, durable=durable)
        cluster.require_owner(account)
        self._cluster = cluster
        self._sockets = sockets = own_folder(socket_place(folder), account)
        rules = _write_access_rules(folder)
        if syncs_at_once(binaries.major):
            # Recovery begins with flushing a thousand files; one call does it ten times sooner.
            rules["recovery_init_sync_method"] = "syncfs"
        options = {
            **rules,
            **self._options,
            "cluster_name": cluster.name,
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        }
        command = [binaries.program("postgres"), "-D", str(cluster.folder)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        tether = tethered(command, last_signal=signal.SIGINT, account=account)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._launch(cluster, tether, folder / "server.log", deadline)
        return _url(sockets)

    def _launch(
        self, cluster: Cluster, command: list[str], log: Path, deadline: float | None
    ) -> None:
        for attempt in range(5):
            if cluster.end_strays():
                self._say("an earlier database server was still there and has been stopped")
            cluster.drop_stale_lock()
            self._keeper = keeper = _Keeper(command, log, self._say)
            self._process = process = keeper.begin()
            if self._wait_until_ready(cluster, process, deadline):
                return
            keeper.join(timeout=2)
            lines = list(keeper.last_lines)
            # Backends of a killed server may need a moment to see that it is gone.
            if not any("is still in use" in line for line in lines):
                break
            time.sleep(0.2 * (attempt + 1))
        raise PostgresError(f"PostgreSQL did not start: {explain(lines)}")

    def _wait_until_ready(
        self, cluster: Cluster, process: subprocess.Popen[bytes], deadline: float | None
    ) -> bool:
        begun = time.monotonic()
        next_notice = begun + _NOTICE_EVERY_S
        while process.poll() is None:
            if cluster.is_ready(process.pid):
                return True
            now = time.monotonic()
            if self._stopping.wait(0.01):
                raise PostgresError("PostgreSQL was stopped while it was starting.")
            if deadline is not None and now > deadline:
                raise PostgresError("PostgreSQL did not become ready in the time it was given.")
            if now > next_notice:
                next_notice = now + _NOTICE_EVERY_S
                self._say(f"recovering after a crash, {now - begun:.0f} s so far; please wait")
        return False

    def stop(self, *, patience_s: float = 6.0) -> None:
        """Stop the server cleanly, by force when that takes longer than `patience_s`.

        A `start` that is waiting in another thread gives up first.
        """
        self._stopping.set()
        with self._turn:
            self._stop(patience_s)

    def _stop(self, patience_s: float) -> None:
        process, cluster = self._process, self._cluster
        if process is not None and process.poll() is None:
            for last_word, wait_s in (
                (signal.SIGINT, patience_s),
                (signal.SIGQUIT, 1.5),
                (signal.SIGKILL, 1.5),
            ):
                process.send_signal(last_word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait_s)
                    break
        try:
            if cluster is not None and cluster.folder.exists():
                cluster.end_strays(patience_s=0.5)
        finally:
            if self._keeper is not None and self._keeper.is_alive():
                self._keeper.join(timeout=2)
            self._process = self._keeper = None
            if self._sockets is not None and self._sockets.name != "socket":
                with contextlib.suppress(OSError):
                    self._sockets.rmdir()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _take_lock(self, path: Path) -> None:
        if self._lock is not None:
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise HomeInUse(
                f"The database in {path.parent} is already run by the process {holder or '?'}. "
                "Stop that one, or use another VEDETTE_HOME."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor


def _holder(lock: int, patience_s: float = 1.0) -> str:
    """Number of the process that has the lock, which it writes a moment after taking it.

    Until then the file is empty or names a holder that is gone. A number that is not ours to see
    (a container beside this one) is given as it stands once the patience is over.
    """
    give_up = time.monotonic() + patience_s
    while True:
        named = os.pread(lock, 20, 0).decode(errors="replace").strip()
        if (named.isdecimal() and Path("/proc", named).exists()) or time.monotonic() > give_up:
            return named
        time.sleep(0.01)


def _write_access_rules(folder: Path) -> dict[str, str]:
    """Let in our own user through the private socket, and nobody from anywhere else.

    The files lie outside the data folder, where the server's user cannot replace them.
    """
    ourselves = pwd.getpwuid(os.geteuid()).pw_name
    rules = {
        "hba_file": (folder / "access.conf", f"local all {USER} peer map=vedette\n"),
        "ident_file": (folder / "users.conf", f'vedette "{ourselves}" {USER}\n'),
    }
    for path, text in rules.values():
        # A full disk must not empty rules that are right already.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)
    return {name: str(path) for name, (path, _) in rules.items()}


def _url(sockets: Path) -> str:
    host = quote(os.fsencode(sockets), safe="/")
    return f"postgresql://{USER}@/{DATABASE}?host={host}&port=5432"


def running_url(home: Path) -> str | None:
    """The address of the server that another process runs in `home`, None when there is none."""
    sockets = socket_place(home.resolve() / "postgres")
    return _url(sockets) if (sockets / SOCKET_NAME).exists() else None
