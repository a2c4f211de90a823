"""Folders of the embedded database: who owns them, and whether the server's user can reach them."""

import hashlib
import os
import pwd
import stat
import tempfile
from pathlib import Path

from shared.lifeline import Account
from shared.postgres.errors import PostgresError

#: `sockaddr_un` holds 108 bytes, the last of which is zero.
_LONGEST_SOCKET_PATH_BYTES = 107
SOCKET_NAME = ".s.PGSQL.5432"


def server_account() -> Account | None:
    """Whom the server runs as: `nobody` when we are root, ourselves (None) otherwise.

    PostgreSQL refuses to run as root; no account is created for it.
    """
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise PostgresError(
                f"PostgreSQL needs a user with a name, and this process runs as the number "
                f"{os.geteuid()}, which has none here. Run it as a user of this system, or set "
                "VEDETTE_DATABASE_URL."
            ) from error
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise PostgresError(
            "PostgreSQL does not run as root, and this system has no user `nobody` to run it as. "
            "Start the platform as an ordinary user or set VEDETTE_DATABASE_URL."
        ) from error
    return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)


def make_home(home: Path) -> Path:
    """Make the platform's folder where it is missing, and return its real path.

    Folders made here let other users pass through (0711) when we are root, because the database
    server is another user then; folders that exist are left as they are.
    """
    home = home.resolve()
    mode = 0o711 if os.geteuid() == 0 else 0o700
    missing = [folder for folder in (home, *home.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
    except OSError as error:
        raise PostgresError(f"The folder {home} cannot be made: {error.strerror}.") from error
    if not home.is_dir():
        raise PostgresError(f"{home} should be a folder and is not.")
    return home


def _allows(status: os.stat_result, account: Account, bits: int) -> bool:
    if status.st_uid == account.uid:
        shift = 6
    elif status.st_gid == account.gid:
        shift = 3
    else:
        shift = 0
    return (stat.S_IMODE(status.st_mode) >> shift) & bits == bits


def unreachable_part(path: Path, account: Account) -> Path | None:
    """The first folder on the way to `path` that `account` may not pass, or None."""
    for folder in (*reversed(path.parents), path):
        status = folder.stat()
        if stat.S_ISDIR(status.st_mode):
            if not _allows(status, account, 0o1):
                return folder
        elif not _allows(status, account, 0o4):
            return folder
    return None


def require_reachable(home: Path, account: Account) -> None:
    """Refuse a home that the server's user cannot enter.

    Raises:
        PostgresError: it names the folder at fault.
    """
    barrier = unreachable_part(home, account)
    if barrier is not None:
        raise PostgresError(
            f"The database server runs as the user `nobody`, who cannot pass through {barrier} "
            f"(mode {stat.S_IMODE(barrier.stat().st_mode):04o}). Nothing was changed. Set "
            "VEDETTE_HOME to a folder that every user may pass through, such as /var/lib/vedette, "
            f"allow it yourself (chmod o+x {barrier}), or set VEDETTE_DATABASE_URL."
        )


def own_folder(folder: Path, account: Account | None) -> Path:
    """A folder that belongs to the server's user and to nobody else (0700), made when missing."""
    uid = os.geteuid() if account is None else account.uid
    try:
        folder.mkdir(mode=0o700)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        pass
    except OSError as error:
        raise PostgresError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        raise PostgresError(
            f"{folder} is not a folder of the user {uid} with mode 0700. It may have been made by "
            "another user who started the platform in this place; use another VEDETTE_HOME."
        )
    return folder


def socket_place(postgres: Path) -> Path:
    """Where the server's socket lies: beside the database, or in a short private place.

    A path that is too long for a socket, or that holds a comma (which separates hosts in a
    database URL), is replaced by a folder in the temporary directory named after its hash.
    """
    folder = postgres / "socket"
    name = os.fsencode(folder / SOCKET_NAME)
    if len(name) <= _LONGEST_SOCKET_PATH_BYTES and b"," not in name:
        return folder
    digest = hashlib.sha256(os.fsencode(postgres)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()).resolve() / f"vedette-{digest}"
    if len(os.fsencode(folder / SOCKET_NAME)) > _LONGEST_SOCKET_PATH_BYTES:
        return Path("/tmp") / folder.name  # noqa: S108 (own_folder checks whose it is)
    return folder
