"""`vedette doctor`: what this machine and this installation have, and what they lack."""

import asyncio
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shared.supervisor.settings import SupervisorSettings

_LOW_DISK = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; `healthy` is None for what is worth knowing and no fault."""

    subject: str
    healthy: bool | None
    text: str


def look_at_python() -> Finding:
    """The interpreter and the cores it may use."""
    from shared.cores import usable_cores

    version = ".".join(str(part) for part in sys.version_info[:3])
    text = f"{version}, {usable_cores()} cores usable"
    return Finding("Python", sys.version_info >= (3, 11), text)


def look_at_disk(settings: "SupervisorSettings") -> Finding:
    """Room for the database and the images."""
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    share = usage.free / usage.total
    text = f"{usage.free / 1e9:.1f} GB free ({share:.0%}) at {existing}"
    return Finding("disk", share > _LOW_DISK, text)


def look_at_keys(settings: "SupervisorSettings") -> Finding:
    """The key files: there, long enough, and nobody else's to read."""
    from shared.keys import WeakKey, key_names, read_key

    folder = settings.keys_folder
    if not folder.exists():
        return Finding("keys", None, f"none yet; the first `vedette up` makes them in {folder}")
    try:
        for name in key_names():
            read_key(folder, name)
    except WeakKey as error:
        return Finding("keys", False, str(error))
    open_to_others = [
        path.name for path in folder.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        return Finding("keys", False, f"others may read {', '.join(sorted(open_to_others))}")
    return Finding("keys", True, str(folder))


async def _ask_database(database_url: str) -> str:
    import asyncpg

    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def look_at_database(settings: "SupervisorSettings") -> Finding:
    """The server: reachable, or startable."""
    import asyncpg

    from shared.postgres import PostgresError, running_url
    from shared.postgres.binaries import OLDEST_MAJOR, find_binaries

    url = running_url(settings.home)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    if url is None:
        try:
            binaries = find_binaries(settings.pg_bin, None)
        except PostgresError as error:
            return Finding("database", False, str(error))
        return Finding(
            "database", None, f"not running; PostgreSQL {binaries.major} will be started"
        )
    try:
        version = asyncio.run(_ask_database(url))
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return Finding("database", False, f"does not answer: {error or type(error).__name__}")
    return Finding("database", int(version.split(".")[0]) >= OLDEST_MAJOR, f"PostgreSQL {version}")


def look_at_platform(settings: "SupervisorSettings") -> Finding:
    """The gateway: ready, not ready, or not running on free ports."""
    from shared.supervisor.probe import base_url, http_status, taken_ports
    from shared.supervisor.programs import ports

    address = base_url(settings.host, settings.port)
    status = asyncio.run(http_status(settings.host, settings.port, "/readyz"))
    if status == 200:
        return Finding("platform", True, f"ready at {address}")
    if status == 503:
        return Finding("platform", False, f"not ready; see {address}/readyz")
    taken = taken_ports(ports(settings))
    if taken:
        listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
        return Finding("platform", False, f"not running, and its ports are taken: {listed}")
    return Finding("platform", None, f"not running; its ports from {settings.port} are free")


def look_at_providers() -> Finding:
    """What networks would run on."""
    try:
        import onnxruntime
    except ImportError:
        return Finding("inference", None, "onnxruntime is not installed")
    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    cuda = "; an NVIDIA device is present" if Path("/dev/nvidia0").exists() else ""
    return Finding("inference", True, f"onnxruntime {onnxruntime.__version__}: {providers}{cuda}")


def look_at_home(settings: "SupervisorSettings") -> Finding:
    """The home folder: ours, and within reach of the server's user."""
    from shared.postgres import PostgresError
    from shared.postgres.home import require_reachable, server_account

    home = settings.home.resolve()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("home", False, f"{existing} may not be written")
    if settings.database_url is None:
        try:
            account = server_account()
            if account is not None:
                require_reachable(existing, account)
        except PostgresError as error:
            return Finding("home", False, str(error))
    return Finding("home", True, str(home))


def examine() -> None:
    """Look at everything the platform needs, and say what is missing (exit status 1)."""
    from rich.console import Console
    from rich.markup import escape

    from shared.supervisor.settings import SupervisorSettings

    settings = SupervisorSettings()
    looks: list[Callable[[], Finding]] = [
        look_at_python,
        lambda: look_at_home(settings),
        lambda: look_at_disk(settings),
        lambda: look_at_keys(settings),
        lambda: look_at_database(settings),
        lambda: look_at_platform(settings),
        look_at_providers,
    ]
    console = Console(soft_wrap=True)
    marks = {True: "[green]ok[/]  ", False: "[red]BAD[/] ", None: "[yellow]-[/]   "}
    healthy = True
    for look in looks:
        finding = look()
        healthy = healthy and finding.healthy is not False
        console.print(f"{marks[finding.healthy]}{finding.subject:<10} {escape(finding.text)}")
    if not healthy:
        raise typer.Exit(1)
