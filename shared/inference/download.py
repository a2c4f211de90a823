"""Fetches published weights: exactly the bytes that the zoo names, resumed where they broke off.

The far side is not trusted. What counts is the size and the sha256 that are known beforehand;
no redirect leads into this network, and no more bytes are taken than are due.
"""

import fcntl
import hashlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedRandom
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_PRIVATE_DOMAINS = frozenset({"localhost", "local", "internal", "lan", "home", "arpa", "test"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"https": 443, "http": 80}

Progress = Callable[[int], None]
"""Told how many bytes are there."""
Resolve = Callable[[str, int], Sequence[str]]
"""From a host name and port to addresses."""


class Fault(StrEnum):
    """Why a download is given up."""

    UNREACHABLE = "unreachable"
    NOT_FOUND = "not-found"
    FORBIDDEN_ADDRESS = "forbidden-address"
    WRONG_SIZE = "wrong-size"
    WRONG_SHA256 = "wrong-sha256"
    BROKEN_OFF = "broken-off"
    TOO_SLOW = "too-slow"
    IN_PROGRESS = "in-progress"


class DownloadRefused(Exception):
    """A file was not fetched; `fault` is for programs, `detail` for people."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail


class BrokenOff(Exception):
    """The far side stopped in the middle; what came is kept."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file somewhere, known by what it must hold."""

    address: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection goes, checked: the request's URL may hold an IP in the host's place."""

    url: str
    headers: Mapping[str, str]
    extensions: Mapping[str, str]


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Ask the resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def has_proxy(address: SplitResult) -> bool:
    """Whether the environment sends this address through a proxy, which then resolves names."""
    proxies = getproxies()
    offered = address.scheme in proxies or "all" in proxies
    return offered and not proxy_bypass(address.hostname or "")


@dataclass(frozen=True, slots=True)
class Downloader:
    """Fetches pinned files into a folder, from the mirror if there is one.

    Attributes:
        folder: where files and their beginnings are kept.
        mirror: a folder, or an http or https URL, that holds files named by their sha256.
        attempts: how often a broken transfer is taken up again without getting further.
        pause_s: the wait before taking it up again.
        limit_s: how long one file may take in all.
        resolve: asks for the addresses of a host.
        is_proxied: whether a proxy stands between, so that names are resolved there.
    """

    folder: Path
    mirror: str | None = None
    attempts: int = 4
    pause_s: float = 1.0
    limit_s: float = 3600.0
    resolve: Resolve = addresses_of
    is_proxied: Callable[[SplitResult], bool] = has_proxy

    def fetch(self, wanted: Pinned, progress: Progress = lambda _: None) -> Path:
        """Fetch one file, or find that it is there.

        Args:
            wanted: the file.
            progress: told of every step.

        Returns:
            The file, whose size and sha256 are those wanted.

        Raises:
            DownloadRefused: with the fault; a transfer that broke off is resumed next time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done = self.folder / wanted.sha256
        if done.is_file() and done.stat().st_size == wanted.bytes and _sha256(done) == done.name:
            progress(wanted.bytes)
            return done
        part = self.folder / f"{wanted.sha256}.part"
        with _locked(part) as file:
            resumed = file.seek(0, os.SEEK_END) > 0
            # What lay there from the last time may have been of something else.
            for may_begin_again in (True, False) if resumed else (False,):
                try:
                    self._fill(file, wanted, progress)
                    self._check(file, wanted)
                    break
                except DownloadRefused as refused:
                    if refused.fault not in (Fault.WRONG_SHA256, Fault.WRONG_SIZE):
                        raise
                    file.truncate(0)
                    if not may_begin_again:
                        raise
            file.flush()
            os.fsync(file.fileno())
            part.rename(done)
        return done

    def discard(self, wanted: Pinned) -> None:
        """Forget a file that is not needed any more."""
        (self.folder / wanted.sha256).unlink(missing_ok=True)

    def _fill(self, file: BufferedRandom, wanted: Pinned, progress: Progress) -> None:
        folder = self.mirror_folder()
        if folder is not None:
            self._copy(folder / wanted.sha256, file, wanted, progress)
            return
        url = wanted.address
        trusted = None
        if self.mirror is not None:
            url = f"{self.mirror.rstrip('/')}/{wanted.sha256}"
            trusted = _origin(urlsplit(url))
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
            self._transfer_all(client, url, trusted, file, wanted, progress)

    def _transfer_all(
        self,
        client: httpx.Client,
        url: str,
        trusted: tuple[str, str, int] | None,
        file: BufferedRandom,
        wanted: Pinned,
        progress: Progress,
    ) -> None:
        """Ask again from where the file ends, for as long as that gets further."""
        until = time.monotonic() + self.limit_s
        failures = 0
        while (had := file.seek(0, os.SEEK_END)) < wanted.bytes:
            if time.monotonic() > until:
                raise DownloadRefused(Fault.TOO_SLOW, f"it took longer than {self.limit_s:g} s")
            try:
                self._transfer(client, url, trusted, file, wanted, progress, until)
                fault = f"ended after {file.seek(0, os.SEEK_END)} of {wanted.bytes} bytes"
            except BrokenOff as broken:
                fault = str(broken)
            if file.seek(0, os.SEEK_END) >= wanted.bytes:
                break
            failures = 0 if file.tell() > had else failures + 1
            if failures >= self.attempts:
                kind = Fault.BROKEN_OFF if file.tell() else Fault.UNREACHABLE
                raise DownloadRefused(kind, f"{_host(url)}: {fault}")
            time.sleep(self.pause_s)

    def mirror_folder(self) -> Path | None:
        """The mirror where it is a folder of this machine."""
        if self.mirror is None:
            return None
        parts = urlsplit(self.mirror)
        if parts.scheme in _PORTS:
            return None
        if parts.scheme == "file":
            return Path(parts.path)
        if parts.scheme:
            raise DownloadRefused(
                Fault.FORBIDDEN_ADDRESS,
                f"VEDETTE_MODEL_MIRROR is a folder or an http address, not {parts.scheme}:",
            )
        return Path(self.mirror).expanduser()

    def _copy(self, source: Path, file: BufferedRandom, wanted: Pinned, progress: Progress) -> None:
        if not source.is_file():
            raise DownloadRefused(
                Fault.NOT_FOUND, f"the mirror {source.parent} has no {source.name}"
            )
        file.truncate(0)
        file.seek(0)
        with source.open("rb") as original:
            while chunk := original.read(_CHUNK):
                _append(file, chunk, wanted)
                progress(file.tell())

    def _transfer(
        self,
        client: httpx.Client,
        url: str,
        trusted: tuple[str, str, int] | None,
        file: BufferedRandom,
        wanted: Pinned,
        progress: Progress,
        until: float,
    ) -> None:
        """Ask once, from where the file ends."""
        start = file.seek(0, os.SEEK_END)
        with self.open_checked(client, url, trusted, start) as response:
            if response.status_code == 416 or (
                response.status_code == 206 and _begins_at(response) != start
            ):
                # It does not know this place; begin again.
                file.truncate(0)
                raise BrokenOff("the server cannot continue there")
            if response.status_code == 404:
                raise DownloadRefused(Fault.NOT_FOUND, f"{_host(url)} does not have it")
            if response.status_code >= 500 or response.status_code in (408, 429):
                raise BrokenOff(f"the server answered {response.status_code}")
            if response.status_code not in (200, 206):
                raise DownloadRefused(
                    Fault.UNREACHABLE, f"{_host(url)} answered {response.status_code}"
                )
            if response.headers.get("content-encoding", "identity") != "identity":
                raise DownloadRefused(Fault.UNREACHABLE, f"{_host(url)} sends it compressed")
            if response.status_code == 200 and start:
                file.truncate(0)
                start = file.seek(0)
            _check_announced(response, start, wanted)
            try:
                for chunk in response.iter_raw():
                    _append(file, chunk, wanted)
                    progress(file.tell())
                    if time.monotonic() > until:
                        raise DownloadRefused(
                            Fault.TOO_SLOW, f"it took longer than {self.limit_s:g} s"
                        )
            except httpx.TransportError as error:
                raise BrokenOff(str(error) or type(error).__name__) from error

    @contextmanager
    def open_checked(
        self,
        client: httpx.Client,
        url: str,
        trusted: tuple[str, str, int] | None = None,
        start: int = 0,
    ) -> Iterator[httpx.Response]:
        """Follow redirects one by one, each checked like the first address."""
        for _ in range(_MAX_REDIRECTS + 1):
            place = self.admit(url, trusted)
            headers = {**place.headers, "Accept-Encoding": "identity"}
            if start:
                headers["Range"] = f"bytes={start}-"
            request = client.build_request(
                "GET", place.url, headers=headers, extensions=dict(place.extensions)
            )
            try:
                response = client.send(request, stream=True)
            except httpx.TransportError as error:
                raise BrokenOff(str(error) or type(error).__name__) from error
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                url = _joined(url, response.headers["location"])
            finally:
                response.close()
        raise DownloadRefused(Fault.UNREACHABLE, f"{_host(url)} redirects without end")

    def admit(self, url: str, trusted: tuple[str, str, int] | None = None) -> Address:
        """Check where a request would go, and pin it to the address that was checked.

        Args:
            url: the first address, or where a redirect points.
            trusted: scheme, host and port of the mirror that the administrator has named, the
                only place that may be private or without encryption.

        Raises:
            DownloadRefused: it is no public https address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise DownloadRefused(Fault.FORBIDDEN_ADDRESS, f"{url!r} is no address") from error
        if parts.scheme not in _PORTS or not parts.hostname:
            raise DownloadRefused(Fault.FORBIDDEN_ADDRESS, f"{parts.scheme or 'no'}: is not https:")
        if parts.username is not None or parts.password is not None:
            raise DownloadRefused(Fault.FORBIDDEN_ADDRESS, "the address carries a password")
        host = parts.hostname
        if trusted is not None and _origin(parts) == trusted:
            return Address(url, {}, {})
        if parts.scheme != "https":
            raise DownloadRefused(Fault.FORBIDDEN_ADDRESS, f"{_host(url)} is not https:")
        if _is_address(host):
            found: Sequence[str] = [host]
        elif self.is_proxied(parts):
            if not _is_public_name(host):
                raise DownloadRefused(Fault.FORBIDDEN_ADDRESS, f"{host} is no public name")
            return Address(url, {}, {})
        else:
            try:
                found = self.resolve(host, port)
            except OSError as error:
                raise BrokenOff(f"{host} has no address: {error}") from error
        private = [address for address in found if not _is_public(address)]
        if private or not found:
            raise DownloadRefused(
                Fault.FORBIDDEN_ADDRESS, f"{host} is {', '.join(private)}, no public address"
            )
        # One look-up: a name that changes its mind in between leads nowhere else.
        literal = f"[{found[0]}]" if ":" in found[0] else found[0]
        pinned = parts._replace(netloc=f"{literal}:{port}").geturl()
        return Address(pinned, {"Host": parts.netloc}, {"sni_hostname": host})

    @staticmethod
    def _check(file: BufferedRandom, wanted: Pinned) -> None:
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted.sha256:
            raise DownloadRefused(
                Fault.WRONG_SHA256, f"the file has the sha256 {found}, {wanted.sha256} was expected"
            )


@contextmanager
def _locked(part: Path) -> Iterator[BufferedRandom]:
    """The beginning of a file, which one process at a time continues."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadRefused(
                Fault.IN_PROGRESS, "another command is fetching this file"
            ) from error
        yield file


def _append(file: BufferedRandom, chunk: bytes, wanted: Pinned) -> None:
    if file.tell() + len(chunk) > wanted.bytes:
        raise DownloadRefused(Fault.WRONG_SIZE, f"there are more than {wanted.bytes} bytes")
    file.write(chunk)


def _check_announced(response: httpx.Response, start: int, wanted: Pinned) -> None:
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and start + int(announced) != wanted.bytes:
        raise DownloadRefused(
            Fault.WRONG_SIZE,
            f"{start + int(announced)} bytes are announced, {wanted.bytes} were expected",
        )


def _begins_at(response: httpx.Response) -> int | None:
    """The first place of a partial answer; None if it does not say."""
    unit, _, rest = response.headers.get("content-range", "").partition(" ")
    first, dash, _ = rest.partition("-")
    return int(first) if unit == "bytes" and dash and first.isdecimal() else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public_name(host: str) -> bool:
    """Whether a name can be one of the public internet: not `localhost`, not a number."""
    labels = host.rstrip(".").split(".")
    return len(labels) > 1 and labels[-1][:1].isalpha() and labels[-1] not in _PRIVATE_DOMAINS


def _is_public(address: str) -> bool:
    """Whether an address lies outside this network, also when it is an IPv4 one in disguise."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner and not inner.is_global:
            return False
    return found.is_global and not found.is_multicast


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadRefused(
            Fault.FORBIDDEN_ADDRESS, f"{location!r} is no address to redirect to"
        ) from error


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the address"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
