"""Where samples come from: folders below the data root, and object stores.

Nothing is opened by a path that leads outside of the root: a name is taken apart, each part is
looked at, and symbolic links are neither followed nor listed.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from services.bqat.domain import Wanted
from services.bqat.errors import InputRefused
from shared.objects import ObjectNotFound, Objects

#: How old clients begin the name of everything below the root.
DATA_PREFIX: Final = "data"
_MOST_DEPTH: Final = 64


class SampleUnreadable(Exception):
    """The bytes of a sample cannot be had; the text says why and names nothing."""


class Source(Protocol):
    """Gives the bytes of samples by their keys."""

    async def read(self, key: str) -> bytes:
        """The bytes; raises `SampleUnreadable`."""
        ...


def relative_name(text: str) -> PurePosixPath:
    """What a client calls a file or folder, below the root; `data/` in front is the root itself.

    Raises:
        InputRefused: it is absolute, climbs, or holds what no name holds.
    """
    if "\0" in text or "\\" in text or len(text) > 4096:
        raise InputRefused("A name below the data folder holds no backslash and no NUL.")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts or len(parts) > _MOST_DEPTH:
        raise InputRefused("A name is given below the data folder, without `..`.")
    if parts and parts[0] == DATA_PREFIX:
        parts = parts[1:]
    return PurePosixPath(*parts)


class DataFolder:
    """The folder below which scans find their files."""

    def __init__(self, root: Path, *, max_file_bytes: int) -> None:
        self.root = root
        self._max_file_bytes = max_file_bytes

    def _open(self, name: PurePosixPath, flags: int) -> int:
        """A descriptor of what lies at `name`, reached without following a link anywhere."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number, part in enumerate(name.parts):
                is_last = number == len(name.parts) - 1
                mode = flags if is_last else os.O_RDONLY | os.O_DIRECTORY
                following = os.open(
                    part, mode | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=descriptor
                )
                os.close(descriptor)
                descriptor = following
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def kind_of(self, name: PurePosixPath) -> str | None:
        """`folder`, `file`, or None where there is neither."""
        try:
            descriptor = self._open(name, os.O_RDONLY)
        except OSError:
            return None
        try:
            mode = os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
        if stat.S_ISDIR(mode):
            return "folder"
        return "file" if stat.S_ISREG(mode) else None

    def files(self, folder: PurePosixPath, wanted: Wanted) -> Iterator[str]:
        """The names of the wanted files below a folder, in an order that is always the same."""
        yield from self._walk(folder, wanted.takes, depth=0)

    def everything(self, folder: PurePosixPath) -> Iterator[str]:
        """The names of all files below a folder."""
        yield from self._walk(folder, lambda _: True, depth=0)

    def _walk(
        self, folder: PurePosixPath, takes: Callable[[str], bool], *, depth: int
    ) -> Iterator[str]:
        try:
            descriptor = self._open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return
        try:
            with os.scandir(descriptor) as entries:
                found = sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in entries
                    if not entry.is_symlink() and not entry.name.startswith(".")
                )
        finally:
            os.close(descriptor)
        for name, is_folder in found:
            try:
                name.encode()
            except UnicodeEncodeError:
                continue
            if is_folder and depth < _MOST_DEPTH:
                yield from self._walk(folder / name, takes, depth=depth + 1)
            elif not is_folder and takes(name):
                yield str(folder / name)

    def folders(self) -> Iterator[str]:
        """Every folder below the root."""
        for path, names, _ in os.walk(self.root, followlinks=False):
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in names:
                yield str((Path(path) / name).relative_to(self.root))

    def read_at_once(self, name: PurePosixPath) -> bytes:
        """The bytes of a file.

        Raises:
            SampleUnreadable: there is none, or it is too large.
        """
        try:
            descriptor = self._open(name, os.O_RDONLY)
        except OSError as error:
            raise SampleUnreadable("The file cannot be opened.") from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SampleUnreadable("This is no plain file.")
            content = file.read(self._max_file_bytes + 1)
        if len(content) > self._max_file_bytes:
            raise SampleUnreadable(f"The file has more than {self._max_file_bytes} bytes.")
        return content

    async def read(self, key: str) -> bytes:
        """See `Source`."""
        try:
            return await asyncio.to_thread(self.read_at_once, relative_name(f"data/{key}"))
        except (OSError, InputRefused) as error:
            raise SampleUnreadable("The file cannot be read.") from error


class StoredFiles:
    """Uploaded files, by their sha256."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def read(self, key: str) -> bytes:
        """See `Source`."""
        try:
            return await self._objects.get(key)
        except ObjectNotFound as error:
            raise SampleUnreadable("The file is no longer kept.") from error


class ObjectPrefix:
    """Samples below a prefix of an object store that the operator has configured."""

    def __init__(self, url: str, *, max_file_bytes: int) -> None:
        self._store: ObjectStore = from_url(url)
        self._max_file_bytes = max_file_bytes

    async def names(self, prefix: str, wanted: Wanted) -> AsyncIterator[str]:
        """The names of the wanted objects below a prefix, in the order of the store.

        Raises:
            InputRefused: the store does not list it.
        """
        path = str(relative_name(f"data/{prefix}"))
        try:
            async for found in self._store.list(None if path == "." else path):
                for entry in found:
                    if wanted.takes(entry["path"]):
                        yield entry["path"]
        except BaseError as error:
            raise InputRefused("The object store does not list this prefix.") from error

    async def read(self, key: str) -> bytes:
        """See `Source`."""
        try:
            answer = await self._store.get_async(key)
            if answer.meta["size"] > self._max_file_bytes:
                raise SampleUnreadable(f"The object has more than {self._max_file_bytes} bytes.")
            return bytes(await answer.bytes_async())
        except (BaseError, FileNotFoundError) as error:
            raise SampleUnreadable("The object cannot be read.") from error
