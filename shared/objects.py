"""Objects: images and other bytes, kept under the sha256 of their content.

A local folder or anything that obstore reaches (S3, GCS, Azure). The same content is stored once;
an object is whole or absent; the row that refers to it is written after it.
"""

import asyncio
import errno
import hashlib
import itertools
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from shared.problems import Problem, Unavailable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SWEEP_BATCH = 500
_COPIED_BYTES = 8 * 1024 * 1024
#: Threads that wait for a disk.
_WRITERS = 16

Answer = TypeVar("Answer")


class StorageFull(Problem):
    """There is no room for this object; nothing of it was kept."""

    status, slug, title = 507, "storage-full", "Storage full"


class ObjectNotFound(Exception):
    """No object has this sha256."""


class StoreAway(Unavailable):
    """The object store does not answer."""

    slug, title = "object-store-away", "Object store unavailable"


def object_key(sha256: str) -> str:
    """Where an object lies below the store's root: `ab/abcd…`.

    256 folders: soon all of them exist, and a new object costs one file and one entry.

    Raises:
        ValueError: `sha256` is not 64 lower-case hexadecimal digits, so a key never holds a path.
    """
    if not _SHA256.fullmatch(sha256):
        raise ValueError("an object is named by the 64 hexadecimal digits of its sha256")
    return f"{sha256[:2]}/{sha256}"


class Objects(Protocol):
    """Bytes by the sha256 of their content."""

    def begin_put(self, content: bytes, loop: asyncio.AbstractEventLoop) -> Future[str]:
        """Begin `put`, in any thread, for one who waits in `loop`."""
        ...

    async def put(self, content: bytes) -> str:
        """Keep `content` for good and return its sha256; the same content again costs nothing."""
        ...

    async def get(self, sha256: str) -> bytes:
        """The content; raises `ObjectNotFound`."""
        ...

    async def get_part(self, sha256: str, start: int, length: int) -> bytes:
        """`length` bytes of the content from `start`; raises `ObjectNotFound`."""
        ...

    async def exists(self, sha256: str) -> bool:
        """Whether the object is there."""
        ...

    async def delete(self, sha256: str, *, min_age_s: float = 0) -> None:
        """Forget the object, unless it was written again less than `min_age_s` ago."""
        ...

    def older_than(self, age_s: float) -> AsyncIterator[str]:
        """The sha256 of every object written more than `age_s` seconds ago."""
        ...


class LargeObjects(Objects, Protocol):
    """Objects that may also be larger than memory."""

    async def put_file(self, path: Path, sha256: str) -> None:
        """Keep what the file holds for good under its sha256; the file may be gone afterwards."""
        ...

    def as_file(self, sha256: str, scratch: Path) -> AbstractAsyncContextManager[Path]:
        """The content as a file to read, in the folder `scratch` unless it is one already.

        Raises:
            ObjectNotFound: there is no such object.
        """
        ...


class LocalObjects:
    """Objects in a folder: temporary file, fsync, rename, fsync of the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark, self._numbers = secrets.token_hex(8), itertools.count()
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="objects")

    def begin_put(self, content: bytes, loop: asyncio.AbstractEventLoop) -> Future[str]:
        """See `Objects`: without the loop, which is not woken unless it waits for the end."""
        return self._writers.submit(self._put, content)

    async def put(self, content: bytes) -> str:
        """See `Objects`; a full disk is `StorageFull`, and leaves nothing behind."""
        return await asyncio.wrap_future(self._writers.submit(self._put, content))

    def _put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            folder = self._open_folder_of(sha256)
            try:
                if not _renewed(folder, sha256, len(content)):
                    self._write(folder, sha256, content)
            finally:
                os.close(folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("There is no room left for this image.") from error
            raise
        return sha256

    def _new_partial(self) -> str:
        """A name that no file has yet, in any folder, from any process."""
        return f".{self._mark}-{next(self._numbers)}.partial"

    def _open_folder_of(self, sha256: str) -> int:
        """A descriptor of the object's folder: what is done there looks for no path again."""
        path = (self._root / object_key(sha256)).parent
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            path.mkdir(mode=0o700, exist_ok=True)
            _fsync(self._root)
            return os.open(path, os.O_RDONLY)

    def _write(self, folder: int, name: str, content: bytes) -> None:
        partial = self._new_partial()
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        try:
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folder)
            raise
        os.fsync(folder)

    async def put_file(self, path: Path, sha256: str) -> None:
        """See `LargeObjects`; a full disk is `StorageFull`."""
        await asyncio.to_thread(self._put_file, path, sha256)

    def _put_file(self, path: Path, sha256: str) -> None:
        kept = self._root / object_key(sha256)
        try:
            os.close(self._open_folder_of(sha256))
            partial = kept.with_name(self._new_partial())
            try:
                try:
                    path.rename(partial)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    shutil.copyfile(path, partial)
                _fsync(partial)
                partial.rename(kept)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            os.utime(kept)  # as new as what was just written, for the sweep
            _fsync(kept.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("There is no room left for this file.") from error
            raise

    @asynccontextmanager
    async def as_file(self, sha256: str, scratch: Path) -> AsyncIterator[Path]:
        """See `LargeObjects`: the object itself."""
        if not await self.exists(sha256):
            raise ObjectNotFound(sha256)
        yield self._root / object_key(sha256)

    async def get(self, sha256: str) -> bytes:
        """See `Objects`."""
        try:
            return await asyncio.to_thread((self._root / object_key(sha256)).read_bytes)
        except FileNotFoundError as error:
            raise ObjectNotFound(sha256) from error

    async def get_part(self, sha256: str, start: int, length: int) -> bytes:
        """See `Objects`."""

        def read() -> bytes:
            with (self._root / object_key(sha256)).open("rb") as file:
                file.seek(start)
                return file.read(length)

        try:
            return await asyncio.to_thread(read)
        except FileNotFoundError as error:
            raise ObjectNotFound(sha256) from error

    async def exists(self, sha256: str) -> bool:
        """See `Objects`."""
        return await asyncio.to_thread((self._root / object_key(sha256)).exists)

    async def delete(self, sha256: str, *, min_age_s: float = 0) -> None:
        """See `Objects`."""
        await asyncio.to_thread(self._delete, self._root / object_key(sha256), min_age_s)

    @staticmethod
    def _delete(path: Path, min_age_s: float) -> None:
        try:
            if path.stat().st_mtime <= time.time() - min_age_s:
                path.unlink()
        except FileNotFoundError:
            return

    async def older_than(self, age_s: float) -> AsyncIterator[str]:
        """See `Objects`; also removes temporary files that a crash left behind."""
        before = time.time() - age_s
        for folder in await asyncio.to_thread(lambda: sorted(self._root.iterdir())):
            for sha256 in await asyncio.to_thread(self._old_in, folder, before):
                yield sha256

    @staticmethod
    def _old_in(folder: Path, before: float) -> list[str]:
        old = []
        for path in folder.iterdir():
            try:
                if path.stat().st_mtime >= before:
                    continue
            except FileNotFoundError:
                continue
            if _SHA256.fullmatch(path.name):
                old.append(path.name)
            else:
                path.unlink(missing_ok=True)
        return old


class RemoteObjects:
    """Objects in S3, GCS, Azure or memory, through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def begin_put(self, content: bytes, loop: asyncio.AbstractEventLoop) -> Future[str]:
        """See `Objects`: in the loop, which no store that does not answer may keep from ending."""
        return asyncio.run_coroutine_threadsafe(self.put(content), loop)

    async def put(self, content: bytes) -> str:
        """See `Objects`."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        await self._call(obstore.put_async(self._store, object_key(sha256), content))
        return sha256

    async def put_file(self, path: Path, sha256: str) -> None:
        """See `LargeObjects`: in parts, where the store takes parts."""
        await self._call(obstore.put_async(self._store, object_key(sha256), path))

    @asynccontextmanager
    async def as_file(self, sha256: str, scratch: Path) -> AsyncIterator[Path]:
        """See `LargeObjects`: a copy, removed at the end."""
        path = scratch / f"{sha256}.{secrets.token_hex(4)}"
        try:
            try:
                found = await self._call(obstore.get_async(self._store, object_key(sha256)))
            except FileNotFoundError as error:
                raise ObjectNotFound(sha256) from error
            with path.open("xb") as file:
                async for chunk in found.stream(min_chunk_size=_COPIED_BYTES):
                    await asyncio.to_thread(file.write, chunk)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def get(self, sha256: str) -> bytes:
        """See `Objects`."""
        try:
            found = await self._call(obstore.get_async(self._store, object_key(sha256)))
        except FileNotFoundError as error:
            raise ObjectNotFound(sha256) from error
        return bytes(await self._call(found.bytes_async()))

    async def get_part(self, sha256: str, start: int, length: int) -> bytes:
        """See `Objects`."""
        try:
            found = await self._call(
                obstore.get_range_async(self._store, object_key(sha256), start=start, length=length)
            )
        except FileNotFoundError as error:
            raise ObjectNotFound(sha256) from error
        return bytes(found)

    async def exists(self, sha256: str) -> bool:
        """See `Objects`."""
        try:
            await self._call(obstore.head_async(self._store, object_key(sha256)))
        except FileNotFoundError:
            return False
        return True

    async def delete(self, sha256: str, *, min_age_s: float = 0) -> None:
        """See `Objects`."""
        key = object_key(sha256)
        try:
            found = await self._call(obstore.head_async(self._store, key))
            if found["last_modified"].timestamp() <= time.time() - min_age_s:
                await self._call(obstore.delete_async(self._store, key))
        except FileNotFoundError:
            return

    async def older_than(self, age_s: float) -> AsyncIterator[str]:
        """See `Objects`."""
        before = time.time() - age_s
        async for batch in obstore.list(self._store):
            for entry in batch:
                name = entry["path"].rsplit("/", 1)[-1]
                if entry["last_modified"].timestamp() < before and _SHA256.fullmatch(name):
                    yield name

    @staticmethod
    async def _call(answer: Awaitable[Answer]) -> Answer:
        try:
            return await answer
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise StoreAway("The object store does not answer.", retry_after_s=2) from error


def open_objects(url: str) -> LargeObjects:
    """The store at `url`: `file:///folder`, `s3://bucket/prefix`, `memory:///` and so on.

    Credentials and endpoint of a remote store come from its usual environment variables
    (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalObjects(Path(unquote(parts.path)))
    return RemoteObjects(from_url(url))


async def sweep(
    objects: Objects, age_s: float, referenced: Callable[[Sequence[str]], Awaitable[set[str]]]
) -> int:
    """Delete objects older than `age_s` that nothing refers to, and return how many.

    Args:
        objects: the store.
        age_s: longer than the longest upload, since an object is written before its row.
        referenced: which of the given sha256 a row refers to.
    """
    deleted = 0
    async for batch in _batches(objects.older_than(age_s)):
        for sha256 in set(batch) - await referenced(batch):
            await objects.delete(sha256, min_age_s=age_s)
            deleted += 1
    return deleted


async def _batches(names: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for name in names:
        batch.append(name)
        if len(batch) == _SWEEP_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _renewed(folder: int, name: str, size_bytes: int) -> bool:
    """Whether an object is there already; a sweep must not take what is referred to again now."""
    try:
        # The size tells a whole object from one that a crashed disk cut short.
        if os.stat(name, dir_fd=folder).st_size != size_bytes:
            return False
        os.utime(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_writable(objects: Objects) -> Callable[[], Awaitable[str]]:
    """A readiness check: the store takes an object."""

    async def check() -> str:
        await objects.put(b"ready")
        return "written"

    return check
