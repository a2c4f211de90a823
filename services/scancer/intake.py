"""From what an administrator names to a verified package: the model store, or an allowed address.

Nothing is taken for granted: the archive is copied before it is looked at, unpacked under limits
into a folder of its own, and verified in another process. What is refused leaves nothing behind.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from services.scancer.domain import PackageFacts
from services.scancer.errors import (
    AddressRefused,
    ArchiveNotFound,
    DownloadFailed,
    PackageInvalid,
    ParameterInvalid,
)
from services.scancer.shelf import Shelf
from shared.inference import Manifest, PackageRefused
from shared.inference.apart import verify_apart
from shared.inference.archive import unpack
from shared.inference.download import Downloader, DownloadRefused
from shared.inference.download_address import fetch_address
from shared.inference.package import read_manifest
from shared.inference.refusal import Reason

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OLD_MANIFEST = Path("MAR-INF", "MANIFEST.json")


@dataclass(frozen=True, slots=True)
class AllowedAddresses:
    """Where packages may be fetched from, and what some addresses must hold."""

    folders: tuple[str, ...] = ()
    """Beginnings of addresses; each ends with a slash."""
    pinned: tuple[tuple[str, str], ...] = ()
    """Addresses and the sha256 of what they hold."""

    @classmethod
    def from_settings(cls, entries: tuple[str, ...]) -> Self:
        """Read `VEDETTE_SCANCER_ALLOWED_URLS`.

        Raises:
            ValueError: an entry is of neither form; a misspelt one must not allow anything.
        """
        folders, pinned = [], []
        for entry in entries:
            address, equals, sha256 = entry.rpartition("=")
            if equals and _SHA256.fullmatch(sha256):
                pinned.append((address, sha256))
            elif entry.endswith("/*"):
                folders.append(entry[:-1])
            else:
                raise ValueError(f"{entry!r} is neither https://host/folder/* nor address=sha256")
        for address in (*folders, *(address for address, _ in pinned)):
            if urlsplit(address).scheme != "https" or not urlsplit(address).hostname:
                raise ValueError(f"{address!r} is no https address")
        return cls(tuple(folders), tuple(pinned))

    def sha256_of(self, address: str, stated: str | None) -> str:
        """What the file at `address` must have.

        Raises:
            AddressRefused: the address is not allowed, or nothing says what it must hold.
        """
        known = dict(self.pinned).get(address)
        plain = "?" not in address and "#" not in address and "%" not in address
        is_below = (
            plain
            and "/../" not in address
            and "/./" not in address
            and any(address.startswith(folder) for folder in self.folders)
        )
        if known is None and not is_below:
            raise AddressRefused(f"Given URL {address} does not match any allowed URL(s)")
        if known is not None and stated not in (None, known):
            raise AddressRefused(f"Given URL {address} is pinned to another sha256")
        if stated is not None and not _SHA256.fullmatch(stated):
            raise ParameterInvalid("Parameter sha256 is 64 lower-case hexadecimal digits.")
        wanted = known or stated
        if wanted is None:
            raise AddressRefused(
                f"Given URL {address} needs the parameter sha256, which says what it must hold"
            )
        return wanted


@dataclass(frozen=True, slots=True)
class Admitted:
    """A package that verified, and its archive, which is there until the intake ends."""

    manifest: Manifest
    archive: Path

    def facts(self, archive_sha256: str) -> PackageFacts:
        """What a registration remembers of it."""
        return PackageFacts(
            archive_sha256=archive_sha256,
            model_id=self.manifest.id,
            model_version=self.manifest.version,
            network_sha256=self.manifest.sha256,
            evidence=str(self.manifest.evidence),
            task=self.manifest.task,
        )


@dataclass(frozen=True, slots=True)
class Intake:
    """Finds, unpacks and verifies packages that somebody wants served; blocks, so use a thread."""

    store: Path
    shelf: Shelf
    allowed: AllowedAddresses
    downloader: Downloader
    max_bytes: int
    verify: Callable[[Path], float] = verify_apart

    @contextmanager
    def admit(self, url: str, sha256: str | None) -> Iterator[Admitted]:
        """The package that `url` names.

        Args:
            url: the name of an archive in the model store, or an https address.
            sha256: what the archive must have; an address needs it unless its pin says it.

        Raises:
            AddressRefused, DownloadFailed, ArchiveNotFound, PackageInvalid, ParameterInvalid:
                with the reason; nothing of the package stays.
        """
        with self.shelf.scratch() as scratch:
            archive = scratch / "archive.zip"
            if _SCHEME.match(url):
                self._fetch(url, sha256, archive)
            else:
                self._copy(url, sha256, archive)
            folder = scratch / "package"
            folder.mkdir()
            try:
                unpack(archive, folder)
                if (folder / _OLD_MANIFEST).is_file():
                    raise PackageRefused(
                        Reason.MISSING_MANIFEST,
                        "this is a TorchServe archive, whose handler is a program; programs are "
                        "not served: export the network to ONNX and use `vedette models new`",
                    )
                manifest = read_manifest(folder)
                self.verify(folder)
            except PackageRefused as refused:
                raise PackageInvalid(str(refused), reason=str(refused.reason)) from refused
            yield Admitted(manifest, archive)

    def _fetch(self, url: str, sha256: str | None, archive: Path) -> None:
        wanted = self.allowed.sha256_of(url, sha256)
        try:
            fetch_address(self.downloader, url, wanted, archive, self.max_bytes)
        except DownloadRefused as refused:
            raise DownloadFailed(
                f"Failed to download archive from: {url} ({refused})", fault=str(refused.fault)
            ) from refused

    def _copy(self, name: str, sha256: str | None, archive: Path) -> None:
        """Copy an archive out of the model store, so that it cannot change while it is checked."""
        if _PLAIN_NAME.fullmatch(name) is None or ".." in name:
            raise ArchiveNotFound(f"Relative path is not allowed in url: {name}")
        not_found = ArchiveNotFound(f"Model not found in model store: {name}")
        try:
            descriptor = os.open(
                self.store / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            raise not_found from error
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise not_found
        with os.fdopen(descriptor, "rb") as source:
            if facts.st_size > self.max_bytes:
                raise PackageInvalid(
                    f"{name} has {facts.st_size} bytes, allowed are {self.max_bytes}",
                    reason=str(Reason.TOO_LARGE),
                )
            with archive.open("xb") as copy:
                shutil.copyfileobj(source, copy)
        if sha256 is not None:
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise PackageInvalid(
                    f"{name} has the sha256 {found}", reason=str(Reason.WRONG_SHA256)
                )
