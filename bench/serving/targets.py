"""Starts what is measured: Vedette's service, its gateway, and the peers; all stop at the end."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import psutil
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from bench.serving.bare import Setup
from bench.serving.service import PATH, ROUTED_PATH, SERVICE
from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.keys import ensure_keys, read_key
from shared.tokens import Claims, TokenType, mint, public_jwk

Headers = Sequence[tuple[str, str]]

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS_FOLDER = REPOSITORY / ".cache" / "bench-venv"
_SUBJECT = "0190f0f0-0000-7000-8000-000000000000"
_SCOPES = frozenset({f"{SERVICE}:read", f"{SERVICE}:write"})
_START_S = 90.0
_ON_ONE_GPU = 4


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else's server, in the bench's own virtual environment."""

    name: str
    command: tuple[str, ...]
    """The program, from the environment's `bin`, and its arguments; `{port}` is replaced."""
    requirement: str
    in_json: bool = False
    """Whether bodies travel as base64 in JSON, because it takes them in no better way."""


PEERS = (
    Peer("FastAPI + threads", ("python", "-m", "bench.serving.peers.fastapi_threads"), "fastapi"),
    Peer("LitServe", ("python", "-m", "bench.serving.peers.litserve_batching"), "litserve"),
    Peer(
        "BentoML",
        ("bentoml", "serve", "bench.serving.peers.bentoml_batching:Bench",
         "--host", "127.0.0.1", "--port", "{port}"),
        "bentoml",
        in_json=True,
    ),
)  # fmt: skip


def _as_it_is(body: bytes) -> bytes:
    return body


def _in_json(body: bytes) -> bytes:
    return json.dumps({"bodies": [base64.b64encode(body).decode()]}).encode()


@dataclass(frozen=True, slots=True)
class Target:
    """Processes that answer on a port."""

    name: str
    port: int
    path: str
    pids: tuple[int, ...]
    authorize: Callable[[], Headers] = tuple
    """Headers that say who asks; made anew for every load, because they expire."""
    frame: Callable[[bytes], bytes] = _as_it_is
    content_type: str = "application/octet-stream"

    def headers(self) -> Headers:
        """The headers of a request."""
        return (("Content-Type", self.content_type), *self.authorize())

    def cpu_s(self) -> float:
        """Processor time that the processes and their children have used."""
        seconds = 0.0
        for process in _families(self.pids):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def answer(self, body: bytes) -> list[float]:
        """The logits that it gives to a body.

        Raises:
            RuntimeError: it does not give any.
        """
        found = json.loads(self.ask("POST", self.path, self.frame(body)))
        logits: list[float] = found[0] if isinstance(found, list) else found["logits"]
        return logits

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send one request.

        Raises:
            RuntimeError: it is refused.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(self.headers()))
            response = connection.getresponse()
            text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{self.name} answered {response.status}: {text[:300]!r}")
        return text

    def request(self, body: bytes) -> bytes:
        """A whole request with this body, as it goes over the wire."""
        framed = self.frame(body)
        head = "".join(f"{name}: {text}\r\n" for name, text in self.headers())
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}"
            f"Content-Length: {len(framed)}\r\n\r\n"
        ).encode() + framed


class PeerUnavailable(Exception):
    """A peer cannot be installed or started here, and why."""


@dataclass(slots=True)
class Stage:
    """One network and everything that serves it."""

    folder: Path
    setup: Setup
    device: str
    packages: tuple[Path, ...]
    deadline_s: float = 30.0
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._opened.close()

    def start_vedette(self) -> list[Target]:
        """The service directly, its route by FastAPI, and the service through the gateway.

        On a processor with several cores last the gateway before a process for each core, which
        is what `VEDETTE_REPLICAS` starts.
        """
        keys = self.folder / "keys"
        ensure_keys(keys)
        service, gateway, auth = free_port(), free_port(), free_port()
        environment = {
            **os.environ,
            "VEDETTE_HOME": str(self.folder),
            "VEDETTE_KEYS_DIR": str(keys),
            "VEDETTE_PORT": str(gateway),
            "VEDETTE_DEVICE": self.device,
            "VEDETTE_THREADS": str(self.setup.threads),
            "VEDETTE_AUTH_URL": f"http://127.0.0.1:{auth}",
            "VEDETTE_SCANCER_URL": f"http://127.0.0.1:{service}",
            # The limits are counted for every request, and never reached.
            "VEDETTE_RATE_LIMIT_SCALE": "10000",
            "VEDETTE_BENCH_PORT": str(service),
            "VEDETTE_BENCH_PACKAGES": json.dumps([str(path) for path in self.packages]),
            "VEDETTE_BENCH_DEADLINE_S": str(self.deadline_s),
        }
        key = generate_private_key(public_exponent=65_537, key_size=2048)
        jwks = json.dumps({"keys": [public_jwk(key.public_key(), "bench")]}).encode()
        python = sys.executable
        self._start([python, "-m", "bench.gateway.upstream", str(auth)], environment, auth, jwks)
        serving = self._start([python, "-m", "bench.serving.service"], environment, service)
        # Before auth listens, the gateway would wait a while until it asks for the keys again.
        forwarding = self._start([python, "-m", "bench.serving.gateway"], environment, gateway)
        signer = AssertionSigner(GATEWAY, read_key(keys, f"assertion-{SERVICE}"))

        def assert_caller() -> Headers:
            caller = Caller(subject=_SUBJECT, kind="user", scopes=_SCOPES)
            return ((HEADER, signer.sign(caller, SERVICE)),)

        def show_token() -> Headers:
            return (("Authorization", f"Bearer {_token(key)}"),)

        direct = Target("Vedette", service, PATH, (serving,), assert_caller)
        targets = [
            direct,
            replace(direct, name="Vedette, FastAPI route", path=ROUTED_PATH),
            Target("Vedette + gateway", gateway, PATH, (serving, forwarding), show_token),
        ]
        if self.setup.threads > 1:
            targets.append(self._start_replicas(environment, show_token))
        # The key set is fetched a moment after the gateway begins to listen.
        time.sleep(1)
        return targets

    def _start_replicas(
        self, environment: Mapping[str, str], authorize: Callable[[], Headers]
    ) -> Target:
        """Processes of the service behind a gateway of their own.

        A single-threaded one for each core, or the few that a GPU is worth, which divide the cores.
        """
        python, threads = sys.executable, self.setup.threads
        count = min(threads, _ON_ONE_GPU) if self.setup.is_on_gpu else threads
        pids, urls = [], []
        for _ in range(count):
            port = free_port()
            own = {"VEDETTE_THREADS": str(threads // count), "VEDETTE_BENCH_PORT": str(port)}
            command = [python, "-m", "bench.serving.service"]
            pids.append(self._start(command, {**environment, **own}, port))
            urls.append(f"http://127.0.0.1:{port}")
        gateway = free_port()
        own = {"VEDETTE_PORT": str(gateway), "VEDETTE_SCANCER_URL": ",".join(urls)}
        command = [python, "-m", "bench.serving.gateway"]
        pids.append(self._start(command, {**environment, **own}, gateway))
        name = f"Vedette × {count} + gateway"
        return Target(name, gateway, PATH, tuple(pids), authorize)

    def start_peer(self, peer: Peer) -> Target:
        """A peer with the network of this stage.

        Raises:
            PeerUnavailable: it does not start.
        """
        port = free_port()
        program = PEERS_FOLDER / "bin" / peer.command[0]
        if not program.exists():
            raise PeerUnavailable(f"{peer.name} is not installed")
        environment = {
            **os.environ,
            **replace(self.setup, port=port).to_environment(),
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{PEERS_FOLDER / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(self.folder / "bentoml"),
            "OMP_NUM_THREADS": "1",
        }
        arguments = [part.format(port=port) for part in peer.command[1:]]
        pid = self._start([str(program), *arguments], environment, port)
        target = Target(peer.name, port, "/predict", (pid,))
        if peer.in_json:
            target = replace(target, frame=_in_json, content_type="application/json")
        return target

    def _start(
        self, command: list[str], environment: Mapping[str, str], port: int, stdin: bytes = b""
    ) -> int:
        log = self._opened.enter_context((self.folder / f"{port}.log").open("wb"))
        # Standard output is where the platform's log lines go: they are made, and nobody reads.
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        self._opened.callback(_stop, process)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        if not _listens(process, port):
            said = (self.folder / f"{port}.log").read_text(errors="replace")[-1500:]
            raise PeerUnavailable(f"{' '.join(command[-2:])} does not start: {said}")
        return process.pid


def install_peers(peers: Sequence[Peer], *, on_gpu: bool) -> dict[str, str]:
    """Make the peers' environment where it is missing; says which peer is not there, and why."""
    python = PEERS_FOLDER / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS_FOLDER)], check=True)
    runtime = "onnxruntime-gpu[cuda,cudnn]" if on_gpu else "onnxruntime"
    common = [runtime, "numpy", "pillow", "uvicorn[standard]"]
    absent = {}
    for peer in peers:
        marker = PEERS_FOLDER / f"{peer.requirement}-{'gpu' if on_gpu else 'cpu'}"
        if marker.exists():
            continue
        finished = subprocess.run(
            [*_installer(python), "--quiet", *common, peer.requirement],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if finished.returncode:
            absent[peer.name] = finished.stderr.strip().splitlines()[-1:][0][:200]
        else:
            marker.touch()
    return absent


def wait_until_it_answers(target: Target, body: bytes, seconds: float = _START_S) -> list[float]:
    """The first answer of a target that has only begun to listen.

    Raises:
        PeerUnavailable: there is none in time.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return target.answer(body)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            if time.monotonic() > until:
                raise PeerUnavailable(f"{target.name} does not answer: {error}") from error
        time.sleep(0.2)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _installer(python: Path) -> list[str]:
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"):
        return [uv, "pip", "install", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check"]


def _token(key: RSAPrivateKey) -> str:
    now = int(time.time())
    claims = Claims(
        type=TokenType.ACCESS, issuer="vedette", subject=_SUBJECT, audience="vedette",
        issued_at=now, expires_at=now + 900, token_id=f"bench-{now}", kind="user",
        scopes=_SCOPES, username="bench", roles=("developer",), session_id="bench",
    )  # fmt: skip
    return mint(claims, key, "bench")


@contextlib.contextmanager
def alone(targets: Sequence[Target], measured: Target | None = None) -> Iterator[None]:
    """Let nobody run but the one that is measured: some servers keep half a core busy at rest.

    Args:
        targets: everybody.
        measured: who goes on; None for nobody.
    """
    awake = set() if measured is None else set(measured.pids)
    resting = _families([pid for each in targets for pid in each.pids if pid not in awake])
    try:
        for process in resting:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in resting:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _families(pids: Sequence[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        time.sleep(0.1)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started: its session is its own."""
    family = _families([process.pid])
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            break
    # Peers whose own children have sessions of their own.
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
