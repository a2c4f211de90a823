"""Where packages lie: shipped with a service, or installed under `$VEDETTE_HOME/models`."""

import re
from collections.abc import Iterator
from pathlib import Path

from shared.inference.manifest import MANIFEST_NAME
from shared.inference.package import read_manifest

_VERSION_PARTS = re.compile(r"\d+|[A-Za-z]+")
#: Folders that begin with this are being written or removed; they are not packages.
UNFINISHED = "."


class PackageNotFound(LookupError):
    """No package of this name is installed or shipped."""


def installed_packages(home: Path) -> Iterator[Path]:
    """The folders of all installed packages, `models/<id>/<version>`, in order."""
    models = home / "models"
    if not models.is_dir():
        return
    for model in sorted(models.iterdir()):
        if model.name.startswith(UNFINISHED) or not model.is_dir():
            continue
        versions = [
            version
            for version in model.iterdir()
            if not version.name.startswith(UNFINISHED) and (version / MANIFEST_NAME).is_file()
        ]
        yield from sorted(versions, key=lambda version: version_key(version.name))


def resolve_package(home: Path, shipped: Path, wanted: str | None) -> Path:
    """Find the package folder that a service should load.

    Args:
        home: `VEDETTE_HOME`; packages installed there are found by name.
        shipped: the package that the service ships with.
        wanted: what the service's setting names: `id`, `id@version`, or None for the shipped one.

    Returns:
        For an `id`, its newest installed version, or the shipped package of that id.

    Raises:
        PackageNotFound: `wanted` names a package that is neither installed nor shipped.
        PackageRefused: the shipped package has no readable manifest.
    """
    if wanted is None:
        return shipped
    found = _matching(home, wanted)
    if found:
        return found[-1]
    model_id, _, version = wanted.partition("@")
    manifest = read_manifest(shipped)
    if manifest.id == model_id and version in ("", manifest.version):
        return shipped
    raise _not_found(home, wanted)


def find_installed(home: Path, wanted: str) -> list[Path]:
    """The installed packages that `id` or `id@version` names, oldest version first.

    Raises:
        PackageNotFound: there is none.
    """
    found = _matching(home, wanted)
    if not found:
        raise _not_found(home, wanted)
    return found


def _matching(home: Path, wanted: str) -> list[Path]:
    model_id, _, version = wanted.partition("@")
    return [
        folder
        for folder in installed_packages(home)
        if folder.parent.name == model_id and version in ("", folder.name)
    ]


def _not_found(home: Path, wanted: str) -> PackageNotFound:
    return PackageNotFound(
        f"no package {wanted!r} is installed under {home / 'models'}; "
        "`vedette models list` shows those that are"
    )


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people do: 1.10 after 1.9."""
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in _VERSION_PARTS.findall(version)
    )
