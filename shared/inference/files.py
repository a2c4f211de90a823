"""Reads the files of a package folder, and nothing outside it."""

import os
import stat
from pathlib import Path

from shared.inference.refusal import PackageRefused, Reason


def read_member(folder: Path, name: str, max_bytes: int, missing: Reason) -> bytes:
    """Read the file `name` of a package; links, devices and pipes are not read.

    Args:
        folder: the package.
        name: a relative path that the manifest's schema has accepted.
        max_bytes: the largest size that is read.
        missing: what the refusal is called when there is no such file.

    Raises:
        PackageRefused: the file is missing, too large, not a plain file, or outside the folder.
    """
    place = folder
    for part in Path(name).parts:
        place = place / part
        if place.is_symlink():
            raise PackageRefused(Reason.UNSAFE_PATH, f"{name} is a link, or lies behind one")
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PackageRefused(missing, f"{name} is not in the package") from error
    except OSError as error:
        raise PackageRefused(
            Reason.UNSAFE_PATH, f"{name} cannot be opened: {error.strerror}"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise PackageRefused(Reason.UNSAFE_PATH, f"{name} is not a plain file")
        if facts.st_size > max_bytes:
            raise PackageRefused(
                Reason.TOO_LARGE, f"{name} has {facts.st_size} bytes, allowed are {max_bytes}"
            )
        contents = file.read(max_bytes + 1)
    if len(contents) > max_bytes:
        raise PackageRefused(Reason.TOO_LARGE, f"{name} has more than {max_bytes} bytes")
    return contents
