"""Key files: random secrets that processes of one installation share.

`assertion-<service>` signs what the gateway tells a service, `service-<name>` signs what a service
tells auth, `key-encryption` wraps the signing keys that auth keeps in the database.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from shared.settings import SERVICES

KEY_BYTES = 32
KEY_ENCRYPTION = "key-encryption"


class WeakKey(Exception):
    """A key file is absent, unreadable or too short to be safe."""


def key_names() -> Iterator[str]:
    """Every key file that an installation has."""
    yield KEY_ENCRYPTION
    for service in SERVICES:
        yield f"assertion-{service}"
        yield f"service-{service}"


def ensure_keys(folder: Path) -> None:
    """Make the key files that are missing in `folder`; leave the others alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in key_names():
        path = folder / name
        if path.exists():
            continue
        partial = folder / f".{name}.{os.getpid()}"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link fails where another process was first, so that nobody's key is replaced.
            path.hardlink_to(partial)
        except FileExistsError:
            continue
        finally:
            partial.unlink()


def read_key(folder: Path, name: str) -> bytes:
    """Read one key.

    Raises:
        WeakKey: the file is missing, is not hexadecimal, or holds less than 32 bytes.
    """
    path = folder / name
    try:
        key = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise WeakKey(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise WeakKey(f"The key file {path} does not hold hexadecimal digits.") from error
    if len(key) < KEY_BYTES:
        raise WeakKey(f"The key file {path} holds {len(key)} bytes; {KEY_BYTES} are needed.")
    return key
