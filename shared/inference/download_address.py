"""Fetches a file from an address that somebody names, where only its sha256 is known beforehand.

What `download` says of far sides holds here too: no private address, no redirect into this
network, one look-up per name, and the bytes count, not where they came from.
"""

import hashlib
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from shared.inference.download import BrokenOff, Downloader, DownloadRefused, Fault

_CHUNK = 1 << 16
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def fetch_address(
    downloader: Downloader, address: str, sha256: str, target: Path, max_bytes: int
) -> None:
    """Write the file at `address` to `target`.

    Args:
        downloader: its rules, and its mirror, which is asked by the sha256 where there is one.
        address: an https address.
        sha256: what the file must have.
        target: a file that does not exist.
        max_bytes: a longer file is given up.

    Raises:
        DownloadRefused: with the fault; `target` may hold a part then.
    """
    folder = downloader.mirror_folder()
    if folder is not None:
        source = folder / sha256
        if not source.is_file():
            raise DownloadRefused(Fault.NOT_FOUND, f"the mirror has no {sha256}")
        if source.stat().st_size > max_bytes:
            raise DownloadRefused(Fault.WRONG_SIZE, f"there are more than {max_bytes} bytes")
        shutil.copyfile(source, target)
    else:
        trusted = None
        if downloader.mirror is not None:
            address = f"{downloader.mirror.rstrip('/')}/{sha256}"
            parts = urlsplit(address)
            default = 443 if parts.scheme == "https" else 80
            trusted = (parts.scheme, parts.hostname or "", parts.port or default)
        _transfer(downloader, address, trusted, target, max_bytes)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DownloadRefused(
            Fault.WRONG_SHA256, f"the file has the sha256 {found}, {sha256} was expected"
        )


def _transfer(
    downloader: Downloader,
    address: str,
    trusted: tuple[str, str, int] | None,
    target: Path,
    max_bytes: int,
) -> None:
    until = time.monotonic() + downloader.limit_s
    too_long = DownloadRefused(Fault.WRONG_SIZE, f"there are more than {max_bytes} bytes")
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client,
            downloader.open_checked(client, address, trusted) as response,
            target.open("xb") as file,
        ):
            if response.status_code != 200:
                fault = Fault.NOT_FOUND if response.status_code == 404 else Fault.UNREACHABLE
                raise DownloadRefused(fault, f"the server answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise DownloadRefused(Fault.UNREACHABLE, "the server sends it compressed")
            announced = response.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > max_bytes:
                raise too_long
            received = 0
            for chunk in response.iter_raw(_CHUNK):
                received += len(chunk)
                if received > max_bytes:
                    raise too_long
                if time.monotonic() > until:
                    raise DownloadRefused(
                        Fault.TOO_SLOW, f"it took longer than {downloader.limit_s:g} s"
                    )
                file.write(chunk)
    except (httpx.TransportError, BrokenOff) as error:
        raise DownloadRefused(Fault.BROKEN_OFF, str(error) or type(error).__name__) from error
