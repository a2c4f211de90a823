"""Packs and unpacks package archives: a zip with `model.yaml` and `model.onnx` at its root."""

import stat
import tempfile
import zipfile
from pathlib import Path

from shared.inference.install import copy_members
from shared.inference.manifest import is_inside_folder
from shared.inference.package import read_manifest
from shared.inference.refusal import PackageRefused, Reason

MAX_ENTRIES = 200
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
_ENCRYPTED = 0x1
_CHUNK = 1 << 20
#: The same package makes the same archive, whenever and wherever it is packed.
_PACKED_AT = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16


def pack(folder: Path, archive: Path) -> None:
    """Write the package in `folder` as an archive: what its manifest names, and its card.

    Raises:
        PackageRefused: a file is missing, or not a plain one inside the folder.
    """
    manifest = read_manifest(folder)
    with tempfile.TemporaryDirectory() as scratch:
        copy_members(folder, manifest, Path(scratch))
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(Path(scratch).rglob("*")):
                if path.is_dir():
                    continue
                entry = zipfile.ZipInfo(path.relative_to(scratch).as_posix(), _PACKED_AT)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = _PLAIN_FILE
                packed.writestr(entry, path.read_bytes())


def unpack(archive: Path, folder: Path, *, limit_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack `archive` into the empty `folder`.

    Only plain files with plain relative names are taken, each once; what the archive says about
    sizes is not believed.

    Raises:
        PackageRefused: it is no zip, or holds anything else, or too much.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(opened.infolist()) > MAX_ENTRIES:
                raise PackageRefused(Reason.TOO_LARGE, f"more than {MAX_ENTRIES} entries")
            names = [entry.filename for entry in entries]
            if len({name.lower() for name in names}) != len(names):
                raise PackageRefused(Reason.UNSAFE_PATH, "a name appears twice")
            left = limit_bytes
            for entry in entries:
                left = _take(opened, entry, folder, left)
    # NotImplementedError is zipfile's word for a compression that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise PackageRefused(Reason.BAD_ARCHIVE, f"the archive cannot be read: {error}") from error


def _take(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int) -> int:
    """Write one entry; returns how many bytes may still be unpacked."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise PackageRefused(Reason.UNSAFE_PATH, f"{entry.filename!r} is not a plain file")
    if not is_inside_folder(entry.filename) or entry.orig_filename != entry.filename:
        raise PackageRefused(Reason.UNSAFE_PATH, f"{entry.filename!r} is not a plain name")
    if entry.flag_bits & _ENCRYPTED:
        raise PackageRefused(Reason.BAD_ARCHIVE, f"{entry.filename!r} is encrypted")
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise PackageRefused(Reason.TOO_LARGE, "unpacks to more than a package may hold")
            file.write(chunk)
    return left
