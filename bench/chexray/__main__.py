"""Measures chexray end to end against a bare loop: `python -m bench.chexray`.

End to end is a request to the service's own port: form, decode, gate, network, object, row,
answer, with a real PostgreSQL and a real folder. The bare loop decodes, preprocesses and runs the
same bytes through the same network and does nothing else. They take turns;
the figure is the median of the rounds' ratios, because the machine is shared. Where others use
the machine too, the processor time per picture (of service and PostgreSQL) says more.
"""

import argparse
import contextlib
import io
import itertools
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.chexray.radiograph import draw_radiograph
from bench.serving.networks import MEDIUM, make_explained_package
from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.domain import Pathology
from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.imaging import decode
from shared.inference import ModelPackage, load_package
from shared.inference.devices import usable_cores
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.keys import ensure_keys, read_key
from shared.postgres import EmbeddedPostgres, make_home

PORT = 18_640
_START_TIMEOUT_S = 60
_PICTURES = 32
#: Until as many pictures are on their way as there will be.
_RAMP_S = 0.4
#: As browsers write it: the longer it is, the sooner its end is found.
_BOUNDARY = "----WebKitFormBoundaryNs2pq7kVhVbXa1Yd"


def pictures(folder: Path | None, side_px: int, kind: str) -> list[bytes]:
    """Radiographs to send: those in `folder`, or drawings."""
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.iterdir())[:_PICTURES]]
    drawn = []
    for seed in range(_PICTURES):
        file = io.BytesIO()
        Image.fromarray(draw_radiograph(side_px, seed)).save(file, kind)
        drawn.append(file.getvalue())
    return drawn


class Message:
    """One request that is sent again and again, each time with a picture of other bytes.

    A comment in the picture's header changes, so that each is a new object, and nothing else is
    made or copied: what the client costs is taken from the service.
    """

    def __init__(self, image: bytes, assertion: str) -> None:
        """Write the request for a JPEG or PNG file."""
        text = uuid4().hex.encode()
        if image.startswith(b"\xff\xd8"):
            self._checked = b""
            comment = b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text
            commented = image[:2] + comment + image[2:]
        else:
            self._checked = b"tEXtComment\0"
            chunk = self._checked + text
            packed = struct.pack(">I", len(chunk) - 4) + chunk + bytes(4)
            commented = image[:33] + packed + image[33:]
        self._bytes = bytearray(_request(commented, assertion))
        self._place = self._bytes.index(text)

    def renewed(self) -> bytearray:
        """The request with a comment that it never had before; the same buffer each time."""
        text = uuid4().hex.encode()
        end = self._place + len(text)
        self._bytes[self._place : end] = text
        if self._checked:
            self._bytes[end : end + 4] = struct.pack(">I", zlib.crc32(self._checked + text))
        return self._bytes


class Load(NamedTuple):
    """What came of a load that was put on for a while."""

    per_s: float
    """Pictures per second between the moment when all was in flight and the end."""
    taken_s: list[float]
    """How long each picture took, those before and after included."""


def put_load(works: Sequence[Callable[[], object]], seconds: float) -> Load:
    """Let each of `works` be done again and again, side by side."""
    ends: list[float] = []
    taken_s: list[float] = []
    begins = time.perf_counter() + _RAMP_S
    until = begins + seconds

    def repeat(work: Callable[[], object]) -> None:
        while (started_at := time.perf_counter()) < until:
            work()
            ends.append(time.perf_counter())
            taken_s.append(ends[-1] - started_at)

    # A thread that waits for its socket costs less than an event loop that does.
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(sum(begins < end <= until for end in ends) / seconds, taken_s)


class BareLoop:
    """Decode, preprocess and network: one thread per core, or one loop whose runs use all cores."""

    def __init__(self, images: Sequence[bytes], package: ModelPackage, loops: int) -> None:
        self._preprocess = package.preprocess
        self._input = package.manifest.input.name
        self._target_px = max(package.manifest.input.size)
        self._loops = loops
        self._session = Session(
            package.read_network(),
            [(CPU_PROVIDER, {})],
            threads_per_run=max(1, usable_cores() // loops),
        )
        self._images = images

    def run(self, seconds: float) -> Load:
        """Read pictures for a while."""

        def reading(images: Iterator[bytes]) -> Callable[[], object]:
            def read() -> None:
                picture = decode(next(images), target_px=self._target_px)
                tensor = self._preprocess(picture.pixels)
                self._session.run({self._input: tensor[np.newaxis]})

            return read

        return put_load(
            [reading(itertools.cycle(self._images)) for _ in range(self._loops)], seconds
        )


class EndToEnd:
    """Clients that keep their connection and have their next request ready."""

    def __init__(self, images: Sequence[bytes], connections: int, assertion: str) -> None:
        self._messages = [
            [Message(image, assertion) for image in images[number::connections] or images]
            for number in range(connections)
        ]
        self.refused = 0

    def run(self, seconds: float) -> Load:
        """Ask for a while."""
        with contextlib.ExitStack() as opened:

            def asking(messages: Iterator[Message]) -> Callable[[], object]:
                address = ("127.0.0.1", PORT + 2)
                connection = opened.enter_context(socket.create_connection(address, timeout=60))

                def ask() -> None:
                    connection.sendall(next(messages).renewed())
                    self.refused += not _read_answer(connection).startswith(b"HTTP/1.1 201")

                return ask

            return put_load(
                [asking(itertools.cycle(messages)) for messages in self._messages], seconds
            )


def _read_answer(connection: socket.socket) -> bytes:
    """The head of an answer, whose body is read too; nothing where the connection ended."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        if not part:
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    missing = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65_536)) or missing
    return head


def _request(image: bytes, assertion: str) -> bytes:
    form = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="title"\r\n\r\nbench\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = form.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    head = (
        f"POST /api/v2/chexray/studies HTTP/1.1\r\nHost: bench\r\n{HEADER}: {assertion}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _wait_until_ready(service: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 2}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if service.poll() is not None:
                sys.exit("The service ended before it was ready.")
            time.sleep(0.1)
    sys.exit("The service was not ready in time.")


def _cpu_seconds(service: int) -> float:
    """Processor time that the service and the database server have used."""
    here = psutil.Process()
    family = [psutil.Process(service), *here.children(recursive=True)]
    seconds = 0.0
    for process in {process.pid: process for process in family}.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def _measure(arguments: argparse.Namespace, home: Path, database_url: str) -> list[list[float]]:
    images = pictures(arguments.pictures, arguments.side, arguments.format)
    ensure_keys(home / "keys")
    environment = {
        **os.environ,
        "VEDETTE_HOME": str(home),
        "VEDETTE_PORT": str(PORT),
        "VEDETTE_DATABASE_URL": database_url,
        "VEDETTE_LOG_LEVEL": "warning",
        "VEDETTE_DEVICE": "cpu",
    }
    package = load_package(arguments.package)
    # Installed as `vedette models import` does it.
    shutil.copytree(
        arguments.package, home / "models" / package.manifest.id / package.manifest.version
    )
    environment["VEDETTE_CHEXRAY_MODEL"] = package.name
    bare = BareLoop(images, package, arguments.loops)
    service = subprocess.Popen([sys.executable, "-m", "services.chexray"], env=environment)
    rounds: list[list[float]] = []
    try:
        _wait_until_ready(service)
        signer = AssertionSigner(GATEWAY, read_key(home / "keys", "assertion-chexray"))
        for number in range(arguments.rounds + 1):
            caller = Caller(subject=str(uuid4()), kind="user", scopes=frozenset({"chexray:write"}))
            load = EndToEnd(images, arguments.connections, signer.sign(caller, "chexray"))
            before_s = time.process_time()
            bare_per_s, bare_taken_s = bare.run(arguments.seconds)
            bare_cpu_ms = 1000 * (time.process_time() - before_s) / len(bare_taken_s)
            before_s = _cpu_seconds(service.pid)
            per_s, taken_s = load.run(arguments.seconds)
            cpu_ms = 1000 * (_cpu_seconds(service.pid) - before_s) / len(taken_s)
            if load.refused:
                sys.exit(f"{load.refused} requests were not answered with 201.")
            if number:  # the first round warms up
                p50, p99 = np.percentile(taken_s, [50, 99]) * 1000
                rounds.append(
                    [
                        bare_per_s,
                        per_s,
                        per_s / bare_per_s,
                        p50,
                        p99,
                        bare_cpu_ms,
                        cpu_ms,
                        bare_cpu_ms / cpu_ms,
                    ]
                )
    finally:
        service.terminate()
        service.wait(20)
    return rounds


def main() -> None:
    """Print a table of the rounds and their median."""
    parser = argparse.ArgumentParser(prog="python -m bench.chexray", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--loops",
        type=int,
        default=usable_cores(),
        help="threads of the bare side; the cores are divided between their runs",
    )
    parser.add_argument("--side", type=int, default=1024, help="side of the drawings in pixels")
    parser.add_argument("--format", choices=("JPEG", "PNG"), default="JPEG")
    parser.add_argument(
        "--package", type=Path, default=SHIPPED_PACKAGE, help="the folder of another model package"
    )
    parser.add_argument(
        "--densenet",
        action="store_true",
        help="a DenseNet-121 of random weights, as `vedette models import` makes of published ones",
    )
    parser.add_argument("--pictures", type=Path, help="a folder of radiographs instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if arguments.densenet:
            arguments.package = make_explained_package(
                Path(folder) / "densenet", MEDIUM, [str(label) for label in Pathology]
            )
        home = make_home(Path(folder) / "home")
        Path(folder).chmod(0o711)
        database = EmbeddedPostgres(home)
        try:
            rounds = _measure(arguments, home, database.start(timeout_s=60))
        finally:
            database.stop()
    table = Table("round", "bare/s", "end to end/s", "ratio", "p50 ms", "p99 ms")
    for column in ("bare CPU ms", "CPU ms", "CPU ratio"):
        table.add_column(column)
    for number, row in enumerate(rounds, 1):
        table.add_row(str(number), *_cells(row))
    table.add_row(
        "median", *_cells([statistics.median(column) for column in zip(*rounds, strict=True)])
    )
    Console().print(table)


def _cells(row: Sequence[float]) -> list[str]:
    bare, per_s, ratio, *rest, cpu_ratio = row
    times = (f"{figure:.1f}" for figure in rest)
    return [f"{bare:.1f}", f"{per_s:.1f}", f"{ratio:.3f}", *times, f"{cpu_ratio:.3f}"]


if __name__ == "__main__":
    main()
