"""Installs packages under `$VEDETTE_HOME/models/<id>/<version>`: whole, verified, or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.inference.apart import verify_apart
from shared.inference.files import read_member
from shared.inference.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from shared.inference.package import MAX_NETWORK_BYTES, read_manifest
from shared.inference.refusal import Reason
from shared.inference.store import UNFINISHED, find_installed

_MAX_VECTOR_BYTES = 16 * 1024 * 1024
_CARD = "CARD.md"


class AlreadyInstalled(Exception):
    """This version is installed; it is only replaced when that is asked for."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What was installed, where, and how well it agrees with its test vectors."""

    manifest: Manifest
    folder: Path
    worst_deviation: float


@contextmanager
def staging_folder(home: Path) -> Iterator[Path]:
    """A new folder beside the installed packages; removed at the end if it is still there."""
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder = models / f"{UNFINISHED}staging-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install_package(
    source: Path,
    home: Path,
    *,
    replace: bool = False,
    verify: Callable[[Path], float] = verify_apart,
) -> Installed:
    """Copy what the manifest names, verify the copy, and put it in place in one step.

    Raises:
        PackageRefused: the package does not verify; nothing is installed.
        AlreadyInstalled: this version is there and `replace` is not set.
    """
    manifest = read_manifest(source)
    target = require_absent(home, manifest, replace=replace)
    with staging_folder(home) as staged:
        copy_members(source, manifest, staged)
        worst = verify(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(home) as old:
            if target.exists():
                target.rename(old / "old")
            staged.rename(target)
        _sync_folder(target.parent)
    return Installed(manifest, target, worst)


def require_absent(home: Path, manifest: Manifest, *, replace: bool) -> Path:
    """Where a package belongs, unless it is there already.

    Raises:
        AlreadyInstalled: this version is there and `replace` is not set.
    """
    target = home / "models" / manifest.id / manifest.version
    if target.exists() and not replace:
        raise AlreadyInstalled(f"{manifest.name} is installed in {target}")
    return target


def remove_package(home: Path, name: str) -> list[Path]:
    """Remove `id@version`, or every version of `id`.

    Raises:
        PackageNotFound: none of that name is installed.
    """
    found = find_installed(home, name)
    for folder in found:
        with staging_folder(home) as bin_folder:
            folder.rename(bin_folder / "old")
    parent = found[0].parent
    if not any(parent.iterdir()):
        parent.rmdir()
    return found


def copy_members(source: Path, manifest: Manifest, staged: Path) -> None:
    """Copy the files that a manifest names, and the card, into another folder.

    Raises:
        PackageRefused: one is missing, too large, or not a plain file inside the folder.
    """
    members = [
        (MANIFEST_NAME, MAX_MANIFEST_BYTES, Reason.MISSING_MANIFEST),
        (manifest.file, MAX_NETWORK_BYTES, Reason.MISSING_NETWORK),
        *(
            (vector.input, _MAX_VECTOR_BYTES, Reason.MISSING_VECTOR)
            for vector in manifest.test_vectors
        ),
    ]
    if (source / _CARD).is_file():
        members.append((_CARD, MAX_MANIFEST_BYTES, Reason.MISSING_MANIFEST))
    for name, max_bytes, missing in members:
        target = staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.write(read_member(source, name, max_bytes, missing))
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
