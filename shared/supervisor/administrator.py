"""The first administrator: a password made here, and told once."""

import asyncio
import contextlib
import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.settings import Settings
from shared.supervisor.probe import base_url

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 24


class DatabaseUnreachable(Exception):
    """The database does not answer."""


async def has_users(database_url: str, *, patience_s: float) -> bool:
    """Whether anybody besides `anonymous` has an account, so that auth makes no administrator.

    Raises:
        DatabaseUnreachable: nobody answered in `patience_s`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        try:
            connection = await asyncpg.connect(database_url, timeout=5)
            break
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if loop.time() > deadline:
                raise DatabaseUnreachable(
                    f"The database does not answer: {error or type(error).__name__}. Is "
                    "VEDETTE_DATABASE_URL right?"
                ) from error
            await asyncio.sleep(0.5)
    try:
        if await connection.fetchval("SELECT to_regclass('auth.users') IS NULL"):
            return False
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM auth.users WHERE username <> 'anonymous')"
            )
        )
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class FirstPassword:
    """A password that has been made and not yet been told.

    It lies in a file (0600) until it is told, because a start may be killed after auth made the
    administrator and before anybody saw the password.
    """

    path: Path

    def get(self) -> str:
        """The password that waits to be told, a new one if none does."""
        with contextlib.suppress(FileNotFoundError):
            waiting = self.path.read_text().strip()
            if waiting:
                return waiting
        password = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
            file.flush()
            os.fsync(descriptor)
        return password

    def is_waiting(self) -> bool:
        """Whether an earlier start made one and did not tell it."""
        return self.path.exists()

    def told(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


def welcome(settings: Settings, password: str | None, *, preset: bool) -> str:
    """What is shown when the platform is ready: where it is, who may enter, and a line to paste.

    Args:
        settings: where the gateway listens and what the administrator is called.
        password: the first administrator's, when it is to be told now.
        preset: it was set from outside, so that its variable is named instead.
    """
    address = base_url(settings.host, settings.port)
    rows = [("Vedette is ready", address), ("API documentation", f"{address}/docs")]
    token = (
        f"curl -s {address}/api/v2/auth/token -d grant_type=password "
        f"--data-urlencode 'username={settings.admin_username}' --data-urlencode "
    )
    if preset:
        rows.append(
            ("administrator", f"{settings.admin_username}, password: $VEDETTE_ADMIN_PASSWORD")
        )
        rows.append(("get a token", f'{token}"password=$VEDETTE_ADMIN_PASSWORD"'))
    elif password is not None:
        rows.append(("administrator", settings.admin_username))
        rows.append(("password", f"{password}   (shown once; change it or keep it)"))
        rows.append(("get a token", f"{token}'password={password}'"))
    else:
        rows.append(("administrator", "as told at the first start"))
        rows.append(("try it", f"curl -s {address}/readyz"))
    rows.append(("stop", "Ctrl-C"))
    return "\n" + "\n".join(f"  {label:<18} {value}" for label, value in rows) + "\n"
