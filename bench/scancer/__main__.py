"""Measures `/predictions` through the gateway: `python -m bench.scancer`.

The whole service with a real PostgreSQL and the shipped network (or `--package`), asked for the
label of one patch again and again: directly at its port, and through the real gateway with a
token, which may divide among several processes.
The bare loop decodes, prepares and runs the same bytes on all cores, without any server.
They take turns; shares are medians over the rounds of ratios within a round, because machines are
shared. `--body array` sends the prepared picture instead, as `numpy.save` writes it, and `--body
tensor` asks the Open Inference Protocol with it, as bytes behind the JSON, which is how the
protocol's client libraries send it; the bare loop does nothing but run the network then.

Needs `wrk` (Debian: `apt-get install wrk`).
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.chexray.__main__ import BareLoop, Load
from bench.chexray.__main__ import put_load as put_bare_load
from bench.serving.figures import Measured
from bench.serving.loads import put_load
from bench.serving.networks import MEDIUM, TINY, make_package
from bench.serving.targets import REPOSITORY, Headers, Target, free_port
from services.scancer.app import SHIPPED_PACKAGES
from services.scancer.protocol.tensors import HEADER_LENGTH
from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.cores import share_of_cores
from shared.imaging import decode
from shared.inference import ModelPackage, load_package
from shared.inference.archive import pack
from shared.inference.devices import usable_cores
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.keys import ensure_keys, read_key
from shared.postgres import EmbeddedPostgres, make_home
from shared.tokens import Claims, TokenType, mint, public_jwk

_SUBJECT = "0190f0f0-0000-7000-8000-000000000000"
_SCOPES = frozenset({"scancer:predict", "scancer:read", "scancer:admin"})
_NAME = "measured"
_START_S = 60.0
NETWORKS = {"tiny": TINY, "medium": MEDIUM}
_BODIES = {
    "picture": "a picture to /predictions",
    "array": "a prepared picture to /predictions, as numpy.save writes it",
    "tensor": "a prepared tensor over /v2/…/infer",
}


@dataclass(frozen=True, slots=True)
class Round:
    """The bare loop and both ways to the service, one after the other."""

    bare_per_s: float
    bare_cpu_ms: float
    direct: Measured
    gateway: Measured


@dataclass(frozen=True, slots=True)
class Ways:
    """The same service, reached in two ways."""

    direct: Target
    gateway: Target


class BareRuns:
    """One thread per core that runs the network on a picture which is prepared."""

    def __init__(self, package: ModelPackage, prepared: NDArray[np.float32], loops: int) -> None:
        self._feeds = {package.manifest.input.name: prepared[np.newaxis]}
        self._session = Session(
            package.read_network(),
            [(CPU_PROVIDER, {})],
            threads_per_run=max(1, usable_cores() // loops),
        )
        self._loops = loops

    def run(self, seconds: float) -> Load:
        """Run for a while."""

        def run_once() -> None:
            self._session.run(self._feeds)

        return put_bare_load([run_once] * self._loops, seconds)


def main() -> None:
    """Measure and print."""
    options = _options()
    if shutil.which("wrk") is None:
        sys.exit("wrk not found: apt-get install wrk")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if options.network is not None:
            options.package = make_package(
                Path(folder) / options.network, NETWORKS[options.network]
            )
        package = load_package(options.package)
        picture = (options.package / package.manifest.test_vectors[0].input).read_bytes()
        body, headers = _request(options.body, package, picture)
        home = make_home(Path(folder) / "home")
        Path(folder).chmod(0o711)
        database = EmbeddedPostgres(home)
        try:
            with _serving(options, home, database.start(timeout_s=60), headers) as ways:
                rounds = _measure(options, ways, package, body, Path(folder))
        finally:
            database.stop()
    _print(options, package, rounds)


def _measure(
    options: argparse.Namespace, ways: Ways, package: ModelPackage, body: bytes, folder: Path
) -> dict[int, list[Round]]:
    """By connections: pictures per second of the bare loop, and both ways, round by round."""
    picture = (options.package / package.manifest.test_vectors[0].input).read_bytes()
    bare: BareLoop | BareRuns = BareLoop([picture], package, usable_cores())
    if options.body != "picture":
        bare = BareRuns(package, _prepared(package, picture), usable_cores())
    found: dict[int, list[Round]] = {count: [] for count in options.connections}
    put_load(ways.gateway, body, 4, 1, folder)
    for _ in range(options.rounds):
        for connections, rows in found.items():
            used_s = time.process_time()
            per_s, taken_s = bare.run(options.seconds)
            used_s = time.process_time() - used_s
            direct = put_load(ways.direct, body, connections, options.seconds, folder)
            gateway = put_load(ways.gateway, body, connections, options.seconds, folder)
            rows.append(Round(per_s, 1e3 * used_s / len(taken_s), direct, gateway))
    return found


def _print(
    options: argparse.Namespace,
    package: ModelPackage,
    found: dict[int, list[Round]],
) -> None:
    what = _BODIES[options.body]
    table = Table(
        title=f"{package.name}, {what}, {usable_cores()} cores, medians of {options.rounds} rounds "
        f"of {options.seconds:g} s, load average {os.getloadavg()[0]:.1f}",
        title_justify="left",
    )
    for heading in (
        "connections", "bare/s", "direct/s", "share", "p50 ms", "gateway/s", "share", "p50 ms",
        "p99 ms", "bare CPU ms", "direct", "gateway", "failed",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    middle = statistics.median
    for connections, rows in found.items():
        table.add_row(
            str(connections),
            f"{middle(row.bare_per_s for row in rows):.0f}",
            f"{middle(row.direct.per_s for row in rows):.0f}",
            f"{middle(row.direct.per_s / row.bare_per_s for row in rows):.2f}",
            f"{middle(row.direct.p50_ms for row in rows):.2f}",
            f"{middle(row.gateway.per_s for row in rows):.0f}",
            f"{middle(row.gateway.per_s / row.bare_per_s for row in rows):.2f}",
            f"{middle(row.gateway.p50_ms for row in rows):.2f}",
            f"{middle(row.gateway.p99_ms for row in rows):.2f}",
            f"{middle(row.bare_cpu_ms for row in rows):.2f}",
            f"{middle(row.direct.cpu_ms for row in rows):.2f}",
            f"{middle(row.gateway.cpu_ms for row in rows):.2f}",
            str(sum(row.direct.failed + row.gateway.failed for row in rows)),
        )
    Console(width=130).print(table)


@contextlib.contextmanager
def _serving(
    options: argparse.Namespace, home: Path, database_url: str, headers: Headers
) -> Iterator[Ways]:
    """Scancer with the package, and the gateway before it; `headers` go with each request."""
    ensure_keys(home / "keys")
    (home / "model-store").mkdir()
    pack(options.package, home / "model-store" / "measured.zip")
    gateway = _free_ports(7 + options.processes - 1)
    auth, service = gateway + 1, gateway + 6
    ports = [service, *range(gateway + 7, gateway + 6 + options.processes)]
    environment = {
        **os.environ,
        "VEDETTE_HOME": str(home),
        "VEDETTE_KEYS_DIR": str(home / "keys"),
        "VEDETTE_PORT": str(gateway),
        "VEDETTE_DATABASE_URL": database_url,
        # The limits are counted for every request, and never reached.
        "VEDETTE_RATE_LIMIT_SCALE": "10000",
        "VEDETTE_SCANCER_URL": ",".join(f"http://127.0.0.1:{port}" for port in ports),
        "VEDETTE_THREADS": str(share_of_cores(usable_cores(), options.processes)),
    }
    key = generate_private_key(public_exponent=65_537, key_size=2048)
    jwks = json.dumps({"keys": [public_jwk(key.public_key(), "bench")]}).encode()
    signer = AssertionSigner(GATEWAY, read_key(home / "keys", "assertion-scancer"))

    def assertion() -> Headers:
        caller = Caller(subject=_SUBJECT, kind="user", scopes=_SCOPES)
        return (*headers, (HEADER, signer.sign(caller, "scancer")))

    def token() -> Headers:
        return (*headers, ("Authorization", f"Bearer {_token(key)}"))

    path = f"/predictions/{_NAME}"
    if options.body == "tensor":
        path = f"/v2/models/{_NAME}/infer"
    with contextlib.ExitStack() as opened:
        _start(opened, ["bench.gateway.upstream", str(auth)], environment, auth, jwks)
        serving = tuple(
            _start(
                opened,
                ["services.scancer"],
                {**environment, "VEDETTE_LISTEN_PORT": str(port)},
                port,
            )
            for port in ports
        )
        forwarding = _start(opened, ["bench.serving.gateway"], environment, gateway)
        direct = Target("direct", service, path, serving[:1], assertion)
        direct.ask(
            "POST",
            f"/models?url=measured.zip&model_name={_NAME}&synchronous=true"
            f"&initial_workers={usable_cores()}",
        )
        # The key set is fetched a moment after the gateway begins to listen.
        time.sleep(1)
        yield Ways(
            direct,
            replace(direct, name="gateway", port=gateway, pids=(*serving, forwarding),
                    authorize=token),
        )  # fmt: skip


def _start(
    opened: contextlib.ExitStack,
    module: list[str],
    environment: dict[str, str],
    port: int,
    stdin: bytes = b"",
) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        env=environment,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    opened.callback(_stop, process)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return process.pid
        time.sleep(0.1)
    sys.exit(f"{module[0]} does not start")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()


def _free_ports(count: int) -> int:
    """The first of some ports in a row; the services follow the gateway."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as taken:
            for offset in range(count):
                taken.enter_context(socket.create_server(("127.0.0.1", first + offset)))
            return first


def _prepared(package: ModelPackage, picture: bytes) -> NDArray[np.float32]:
    return package.preprocess(decode(picture).pixels)


def _request(kind: str, package: ModelPackage, picture: bytes) -> tuple[bytes, Headers]:
    """The body that is sent, and the headers that go with it."""
    if kind == "picture":
        return picture, ()
    if kind == "array":
        file = io.BytesIO()
        np.save(file, _prepared(package, picture))
        return file.getvalue(), ()
    tensor = _prepared(package, picture)[np.newaxis]
    entry = {
        "name": package.manifest.input.name,
        "shape": [*tensor.shape],
        "datatype": "FP32",
        "parameters": {"binary_data_size": tensor.nbytes},
    }
    text = json.dumps({"inputs": [entry]}).encode()
    return text + tensor.astype("<f4").tobytes(), ((HEADER_LENGTH, str(len(text))),)


def _token(key: RSAPrivateKey) -> str:
    now = int(time.time())
    claims = Claims(
        type=TokenType.ACCESS, issuer="vedette", subject=_SUBJECT, audience="vedette",
        issued_at=now, expires_at=now + 900, token_id=f"bench-{now}", kind="user",
        scopes=_SCOPES, username="bench", roles=("developer",), session_id="bench",
    )  # fmt: skip
    return mint(claims, key, "bench")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scancer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--processes", type=int, default=1, help="of the service; the gateway divides among them"
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        help="instead of the shipped one: tiny costs nothing, medium is DenseNet-121",
    )
    parser.add_argument(
        "--body",
        choices=_BODIES,
        default="picture",
        help="what is sent: the file, or the prepared picture as an array or a tensor",
    )
    parser.add_argument(
        "--package",
        type=Path,
        default=SHIPPED_PACKAGES / "pcam-classification",
        help="the folder of another model package",
    )
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
