"""Unpacks uploaded zip archives into the data folder: plain files with plain names, no more."""

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from services.bqat.errors import ArchiveRefused

_ENCRYPTED: Final = 0x1
_CHUNK: Final = 1 << 20
#: More than photographs compress, and far less than bombs do.
_MOST_RATIO: Final = 200
_RATIO_FROM_BYTES: Final = 10 * 1024 * 1024


def unpack(archive: BinaryIO, folder: Path, *, max_files: int, max_bytes: int) -> int:
    """Unpack into the empty `folder`; how many files there are.

    Only plain files with plain relative names are taken, each once; what the archive says about
    sizes is not believed.

    Raises:
        ArchiveRefused: it is no zip, or holds anything else, or too much; what was unpacked of it
            is the caller's to remove.
    """
    with _reading():
        opened = zipfile.ZipFile(archive)
    with opened:
        entries = opened.infolist()
        if len(entries) > max_files:
            raise ArchiveRefused(f"The archive holds more than {max_files} entries.")
        files = [entry for entry in entries if not entry.is_dir()]
        names = [_plain_name(entry) for entry in files]
        if len({str(name).casefold() for name in names}) != len(names):
            raise ArchiveRefused("The archive holds two files of one name.")
        left = max_bytes
        for entry, name in zip(files, names, strict=True):
            left = _take(opened, entry, folder / name, left)
    if not files:
        raise ArchiveRefused("The archive holds no file.")
    return len(files)


def _plain_name(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Where an entry goes, if it is a plain file with a plain name."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveRefused("The archive holds something that is no plain file.")
    if entry.flag_bits & _ENCRYPTED:
        raise ArchiveRefused("The archive is encrypted.")
    text = entry.orig_filename
    path = PurePosixPath(text)
    plain = (
        text == entry.filename
        and text.isprintable()
        and "\\" not in text
        and ":" not in text
        and not path.is_absolute()
        and 0 < len(path.parts) <= 32
        and len(text) <= 1024
        and all(
            part not in ("..", ".") and not part.startswith(".") and len(part.encode()) <= 255
            for part in path.parts
        )
    )
    if not plain:
        raise ArchiveRefused("The archive holds a name that leads elsewhere, or is hidden.")
    return path


def _take(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    written = 0
    with _reading():
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(target, flags, 0o644)
        with opened.open(entry) as source, os.fdopen(descriptor, "wb") as file:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > left:
                    raise ArchiveRefused("The archive unpacks to more than is taken.")
                if written > _RATIO_FROM_BYTES and written > _MOST_RATIO * entry.compress_size:
                    raise ArchiveRefused("A file of the archive unpacks to far more than it is.")
                file.write(chunk)
    return left - written


@contextmanager
def _reading() -> Iterator[None]:
    """What damaged archives raise, in one word."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,  # zipfile's word for a compression that it does not know
        EOFError,
        ValueError,
        OverflowError,
    ) as error:
        raise ArchiveRefused("The archive cannot be read.") from error
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ArchiveRefused("The archive cannot be unpacked here.") from error
        raise ArchiveRefused("The archive cannot be read.") from error
