"""Package archives in the object store, and their unpacked copies on this machine."""

import asyncio
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from shared.inference import ModelPackage, load_package
from shared.inference.archive import unpack
from shared.inference.manifest import MANIFEST_NAME
from shared.inference.store import UNFINISHED
from shared.objects import Objects

log = structlog.get_logger(__name__)

_SCRATCH = ".scratch-"
#: Longer than any package is looked at; older folders are of a process that was killed.
_SCRATCH_LIVES_S = 3600.0


class Shelf:
    """Keeps archives by their sha256; a copy that is unpacked once serves every later start."""

    def __init__(self, objects: Objects, home: Path) -> None:
        """Prepare the folder of copies, beside the installed packages.

        Args:
            objects: where the archives are.
            home: `VEDETTE_HOME`.
        """
        self._objects = objects
        # Begins as unfinished packages do, so that it is not taken for an installed model.
        self._folder = home / "models" / f"{UNFINISHED}served"
        self._folder.mkdir(parents=True, exist_ok=True)

    async def keep(self, archive: Path) -> str:
        """Keep an archive for good and return its sha256."""
        return await self._objects.put(await asyncio.to_thread(archive.read_bytes))

    async def open(self, sha256: str) -> ModelPackage:
        """The verified package of an archive that was kept.

        Raises:
            PackageRefused: it does not verify on this machine.
            ObjectNotFound: the archive is gone.
            StoreAway: the object store does not answer.
        """
        folder = self._folder / sha256
        if not (folder / MANIFEST_NAME).is_file():
            archive = await self._objects.get(sha256)
            await asyncio.to_thread(self._unpack, archive, folder)
        return await asyncio.to_thread(load_package, folder)

    def _unpack(self, archive: bytes, folder: Path) -> None:
        with self.scratch() as scratch:
            (scratch / "archive.zip").write_bytes(archive)
            unpacked = scratch / "package"
            unpacked.mkdir()
            unpack(scratch / "archive.zip", unpacked)
            try:
                unpacked.rename(folder)
            except OSError:
                # Another process of this machine was first; what it wrote is the same.
                if not (folder / MANIFEST_NAME).is_file():
                    raise

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the same disk, removed with everything in it at the end."""
        folder = self._folder / f"{_SCRATCH}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def tidy(self, needed: Collection[str]) -> None:
        """Remove the copies of archives that no version needs."""
        await asyncio.to_thread(self._tidy, set(needed))

    def _tidy(self, needed: set[str]) -> None:
        for copy in self._folder.iterdir():
            if copy.name in needed or (
                copy.name.startswith(_SCRATCH) and not _is_abandoned(copy, time.time())
            ):
                continue
            shutil.rmtree(copy, ignore_errors=True)
            log.info("package_copy_removed", archive=copy.name)


def _is_abandoned(scratch: Path, now: float) -> bool:
    try:
        return now - scratch.stat().st_mtime > _SCRATCH_LIVES_S
    except FileNotFoundError:
        return False
