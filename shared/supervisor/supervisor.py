"""The platform's life from the first file to the last process."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from shared.cores import usable_cores
from shared.keys import ensure_keys
from shared.loopback import is_loopback
from shared.postgres import EmbeddedPostgres, PostgresError, make_home
from shared.supervisor.administrator import (
    DatabaseUnreachable,
    FirstPassword,
    has_users,
    welcome,
)
from shared.supervisor.child import Child, restart_delay_s
from shared.supervisor.output import Output
from shared.supervisor.probe import http_status, taken_ports
from shared.supervisor.programs import (
    GATEWAY,
    ROOT,
    Program,
    ports,
    replica_urls,
    service_programs,
    threads_of,
)
from shared.supervisor.settings import SupervisorSettings

_NAME = "vedette"
_DATABASE = "postgres"
#: What a process gets beside VEDETTE_STOP_GRACE_S to end by itself before it is killed.
_STOP_MARGIN_S = 1.0
#: What the database gets after the last of them, and whatever they left of their time.
_DATABASE_STOP_S = 1.0
_MOST_SHORT_LIVES = 5
_WATCH_EVERY_S = 0.1
_SAY_EVERY_S = 10.0


class StartFailed(Exception):
    """The platform cannot be started; the text says why."""


class Supervisor:
    """Runs the database, the services and the gateway, and keeps them running."""

    def __init__(
        self,
        settings: SupervisorSettings,
        output: Output,
        *,
        services: Sequence[Program] | None = None,
        gateway: Program = GATEWAY,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare; nothing is touched before `run`.

        Args:
            settings: where the home and the ports are.
            output: where every line goes.
            services: what is started beside the gateway; every service by default.
            gateway: what is asked whether the platform is ready, and stopped first.
            environment: what the processes inherit; this process's own by default.
        """
        self._settings = settings
        self._output = output
        self._services = service_programs(settings) if services is None else services
        self._gateway = gateway
        self._inherited = dict(os.environ if environment is None else environment)
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._failure: str | None = None
        self._ready = False
        self._children: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._postgres: EmbeddedPostgres | None = None
        self._database_task: asyncio.Task[None] | None = None
        self._lock: int | None = None

    async def run(self) -> None:
        """Start everything, show how to use it, and stay until somebody asks to stop.

        Raises:
            StartFailed: something stood in the way; what had been started is stopped.
        """
        loop = asyncio.get_running_loop()
        caught = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` asked for that
            caught.append(signal.SIGHUP)
        for number in caught:
            loop.add_signal_handler(number, self.stop)
        try:
            await self._until_stopped(self._start())
            await self._stopping.wait()
        except (PostgresError, DatabaseUnreachable) as error:
            raise StartFailed(str(error)) from error
        except OSError as error:
            raise StartFailed(f"{error.strerror}: {error.filename}") from error
        finally:
            await self._stop_everything()
            for number in caught:
                loop.remove_signal_handler(number)
        if self._failure is not None:
            raise StartFailed(self._failure)

    def stop(self) -> None:
        """Stop the platform; asked a second time, at once."""
        if self._stopping.is_set():
            self._at_once.set()
            return
        self._output.line(_NAME, "stopping; once more to stop at once")
        self._stopping.set()

    async def _until_stopped(self, work: Awaitable[None]) -> None:
        """Do `work`, and leave it where it is when the platform is to stop."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def _start(self) -> None:
        settings = self._settings
        home = make_home(settings.home)
        self._take_lock(home / "supervisor.lock")
        self._refuse_taken_ports()
        ensure_keys(settings.keys_folder)
        database_url = await self._start_database(home)

        first_password = FirstPassword(home / "first-password")
        had_users = await has_users(database_url, patience_s=settings.database_patience_s)
        preset = settings.admin_password is not None
        password: str | None = None
        if not preset and (not had_users or first_password.is_waiting()):
            password = first_password.get()

        self._start_children(self._environment(home, database_url), password)
        await self._until_ready()
        self._ready = True
        self._output.plain(welcome(settings, password, preset=preset))
        first_password.told()

    def _take_lock(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StartFailed(
                f"The platform in {path.parent} is already running (process {holder or '?'}). "
                "Stop that one, or use another VEDETTE_HOME."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def _refuse_taken_ports(self) -> None:
        names = {self._gateway.name, *(program.name for program in self._services)}
        places = {name: at for name, at in ports(self._settings).items() if name in names}
        taken = taken_ports(places)
        if taken:
            listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
            raise StartFailed(
                f"Another program listens on port {listed}. Stop it, or set VEDETTE_PORT: the "
                "gateway listens there and the services on the ports that follow."
            )

    async def _start_database(self, home: Path) -> str:
        if self._settings.database_url is not None:
            return self._settings.database_url.get_secret_value()
        self._postgres = EmbeddedPostgres(
            home,
            binaries=self._settings.pg_bin,
            say=lambda line: self._output.line(_DATABASE, line),
        )
        url = await asyncio.to_thread(self._postgres.start)
        self._database_task = asyncio.create_task(self._keep_database(self._postgres))
        return url

    async def _keep_database(self, postgres: EmbeddedPostgres) -> None:
        """Start the database again whenever it dies; the services reconnect by themselves."""
        failures = 0
        while not self._stopping.is_set():
            if postgres.is_running:
                await asyncio.sleep(_WATCH_EVERY_S)
                continue
            self._output.line(_DATABASE, "the server is gone; it is started again")
            try:
                await asyncio.to_thread(postgres.start)
                failures = 0
            except PostgresError as error:
                failures += 1
                self._output.line(_DATABASE, str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(restart_delay_s(failures + 1)):
                        await self._stopping.wait()

    def _environment(self, home: Path, database_url: str) -> dict[str, str]:
        settings = self._settings
        environment = (
            self._inherited
            | replica_urls(settings)
            | {
                "VEDETTE_HOME": str(home),
                "VEDETTE_KEYS_DIR": str(settings.keys_folder),
                "VEDETTE_DATABASE_URL": database_url,
                "PYTHONUNBUFFERED": "1",
            }
        )
        if self._output.is_terminal:
            environment.setdefault("VEDETTE_LOG_FORMAT", "console")
        if is_loopback(settings.host):
            # Nobody else reaches this machine's loopback, and the old clients know no credential.
            environment.setdefault("VEDETTE_BQAT_ANONYMOUS", "1")
            # Nor had the old fleet API any way to make its first user but to make it unasked.
            environment.setdefault("VEDETTE_FLEET_FIRST_USER_OPEN", "1")
        # Only auth makes the administrator, so only auth is told the password.
        environment.pop("VEDETTE_ADMIN_PASSWORD", None)
        # One process's own; all of them would want it.
        environment.pop("VEDETTE_LISTEN_PORT", None)
        return environment

    def _start_children(self, environment: Mapping[str, str], password: str | None) -> None:
        programs = [*self._services, self._gateway]
        cores = usable_cores()
        preset = self._settings.admin_password
        for program in programs:
            threads = self._settings.threads or threads_of(program, programs, cores)
            own = {**environment, **program.own, "VEDETTE_THREADS": str(threads)}
            if program.name == "auth":
                if preset is not None:
                    own["VEDETTE_ADMIN_PASSWORD"] = preset.get_secret_value()
                elif password is not None:
                    own["VEDETTE_ADMIN_PASSWORD"] = password
            child = Child(
                program, own, self._output, folder=ROOT, on_short_life=self._weigh_short_life
            )
            self._children.append(child)
            self._tasks.append(asyncio.create_task(child.run()))

    def _weigh_short_life(self, child: Child) -> None:
        """A process that never comes up is a wrong setting, and starting it for ever hides that."""
        if not self._ready and child.short_lives >= _MOST_SHORT_LIVES:
            self._failure = (
                f"{child.program.name} ended {child.short_lives} times before the platform was "
                "ready; its last lines above say why."
            )
            self._stopping.set()

    async def _until_ready(self) -> None:
        host, port = self._settings.host, self._settings.port
        loop = asyncio.get_running_loop()
        begun = loop.time()
        next_word = begun + _SAY_EVERY_S
        while await http_status(host, port, "/readyz") != 200:
            now = loop.time()
            if now - begun > self._settings.ready_timeout_s:
                raise StartFailed(
                    f"The platform was not ready after {now - begun:.0f} s; /readyz of each "
                    "service says what is missing."
                )
            if now > next_word:
                next_word = now + _SAY_EVERY_S
                self._output.line(_NAME, f"not ready yet after {now - begun:.0f} s")
            await asyncio.sleep(0.05)

    async def _stop_everything(self) -> None:
        """The gateway first, which lets its clients finish; the database last."""
        self._stopping.set()
        loop = asyncio.get_running_loop()
        everyone_s = self._settings.stop_grace_s + _STOP_MARGIN_S
        deadline = loop.time() + everyone_s
        gateways = [child for child in self._children if child.program == self._gateway]
        services = [child for child in self._children if child.program != self._gateway]
        for group, patience_s in ((gateways, everyone_s / 2), (services, everyone_s)):
            for child in group:
                child.stop()
            await self._gone(group, min(patience_s, deadline - loop.time()))
        await self._gone(self._children, deadline - loop.time())
        for child in self._children:
            child.send(signal.SIGKILL)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._database_task is not None:
            self._database_task.cancel()
        if self._postgres is not None:
            spare_s = deadline + _DATABASE_STOP_S - loop.time()
            patience_s = 0.0 if self._at_once.is_set() else spare_s
            await asyncio.to_thread(self._postgres.stop, patience_s=patience_s)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _gone(self, children: Sequence[Child], patience_s: float) -> None:
        """Wait until all are gone, the time is up, or the second Ctrl-C."""
        if not children or self._at_once.is_set():
            return

        async def everyone() -> None:
            for child in children:
                await child.gone.wait()

        waiting = [asyncio.create_task(everyone()), asyncio.create_task(self._hurry())]
        await asyncio.wait(
            waiting, timeout=max(0.0, patience_s), return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _hurry(self) -> None:
        await self._at_once.wait()
