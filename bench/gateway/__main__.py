"""Measures the gateway, nginx and the service itself in turns: `python -m bench.gateway`.

Needs `wrk` and `nginx` (Debian: `apt-get install wrk nginx-light`). Ratios are medians over the
rounds of ratios within a round, because the machine is shared and what it gives varies.

The service behind is one process in two forms: a FastAPI application that hashes what it gets, like
the platform's own, and a bare ASGI application that costs next to nothing and so shows what
forwarding itself costs.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console
from rich.table import Table

from bench.gateway.upstream import BARE_PATH, SERVICE_PATH
from shared.keys import ensure_keys
from shared.tokens import Claims, TokenType, mint, public_jwk

_KEY_ID = "bench"
_UPLOAD_BYTES = 1024 * 1024

_NGINX = """\
worker_processes 1;
daemon off;
master_process off;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  keepalive_requests 1000000;
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""
_WRK_SCRIPT = """\
wrk.method = "{method}"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.body = {body}
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %.1f %.1f %d\\n", summary.requests, summary.duration,
    summary.errors.status, latency:percentile(50), latency:percentile(99),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""
_result = re.compile(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)").search


@dataclass(frozen=True, slots=True)
class Load:
    """What `wrk` does to every target."""

    title: str
    script: Path
    path: str
    connections: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What one load on one target gave."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the target itself for one request."""
    failed: int


@dataclass(frozen=True, slots=True)
class Target:
    """A process that answers on a port."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each load")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    missing = [name for name in ("wrk", "nginx") if _find(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found: apt-get install wrk nginx-light")
    with tempfile.TemporaryDirectory() as name, _targets(Path(name)) as (targets, token):
        folder = Path(name)
        get = _script(folder / "get.lua", "GET", token, "nil")
        post = _script(folder / "post.lua", "POST", token, f'string.rep("x", {_UPLOAD_BYTES})')
        loads = (
            Load(f"GET 1 KB of a FastAPI service, {options.connections} connections",
                 get, SERVICE_PATH, options.connections),
            Load("POST 1 MB to a FastAPI service that hashes it, 8 connections",
                 post, SERVICE_PATH, 8),
            Load(f"GET 1 KB of a bare ASGI application, {options.connections} connections",
                 get, BARE_PATH, options.connections),
            Load("POST 1 MB to a bare ASGI application that counts it, 8 connections",
                 post, BARE_PATH, 8),
        )  # fmt: skip
        found = {load: {target.name: list[Measured]() for target in targets} for load in loads}
        for target in targets:
            _put(loads[0], target, 1)
        for _ in range(options.rounds):
            for load in loads:
                for target in targets:
                    found[load][target.name].append(_put(load, target, options.seconds))
    console = Console(width=110)
    console.print(
        f"{os.cpu_count()} cores; medians of {options.rounds} rounds of {options.seconds} s, "
        "one process each"
    )
    for load in loads:
        console.print(_table(load.title, found[load]))


def _table(title: str, measured: dict[str, list[Measured]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (
        "target",
        "req/s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "of nginx",
        "of direct",
        "failed",
    ):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for target, rounds in measured.items():
        table.add_row(
            target,
            f"{median(each.per_s for each in rounds):,.0f}",
            f"{median(each.p50_ms for each in rounds):.2f}",
            f"{median(each.p99_ms for each in rounds):.2f}",
            f"{median(each.cpu_us for each in rounds):,.0f}",
            f"{_ratio(rounds, measured['nginx']):.2f}",
            f"{_ratio(rounds, measured['direct']):.2f}",
            str(sum(each.failed for each in rounds)),
        )
    return table


def _ratio(rounds: list[Measured], others: list[Measured]) -> float:
    return median(ours.per_s / theirs.per_s for ours, theirs in zip(rounds, others, strict=True))


def _put(load: Load, target: Target, seconds: int) -> Measured:
    """Put a load on one target with `wrk`."""
    used_s = target.cpu_s()
    finished = subprocess.run(
        ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "-s", str(load.script),
         f"http://127.0.0.1:{target.port}{load.path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = _result(finished.stdout)
    if found is None:
        raise RuntimeError(f"wrk said: {finished.stdout}{finished.stderr}")
    requests, duration_us, refused, p50_us, p99_us, broken = (
        float(part) for part in found.groups()
    )
    return Measured(
        per_s=requests / (duration_us / 1e6),
        p50_ms=p50_us / 1e3,
        p99_ms=p99_us / 1e3,
        cpu_us=(target.cpu_s() - used_s) / requests * 1e6,
        failed=int(refused + broken),
    )


def _script(path: Path, method: str, token: str, body: str) -> Path:
    path.write_text(_WRK_SCRIPT.format(method=method, token=token, body=body))
    return path


@contextlib.contextmanager
def _targets(folder: Path) -> Iterator[tuple[list[Target], str]]:
    """Start the service and what stands before it; yield their ports and a token."""
    key = generate_private_key(public_exponent=65_537, key_size=2048)
    now = int(time.time())
    claims = Claims(
        type=TokenType.ACCESS, issuer="vedette", subject="0190f0f0-0000-7000-8000-000000000000",
        audience="vedette", issued_at=now, expires_at=now + 900, token_id=_KEY_ID, kind="user",
        scopes=frozenset({"chexray:read", "chexray:write"}), username="bench",
        roles=("clinician",), session_id="bench",
    )  # fmt: skip
    ensure_keys(folder / "keys")
    direct, through, nginx = _free_port(), _free_port(), _free_port()
    environment = {
        **os.environ,
        "VEDETTE_PORT": str(through),
        "VEDETTE_HOME": str(folder),
        "VEDETTE_AUTH_URL": f"http://127.0.0.1:{direct}",
        "VEDETTE_CHEXRAY_URL": f"http://127.0.0.1:{direct}",
        # The limits are counted for every request, and never reached.
        "VEDETTE_RATE_LIMIT_SCALE": "10000",
    }
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, upstream=direct, port=nginx))
    commands = {
        "direct": [sys.executable, "-m", "bench.gateway.upstream", str(direct)],
        "gateway": [sys.executable, "-m", "bench.gateway.gateway"],
        "nginx": [_find("nginx") or "nginx", "-c", str(configuration), "-e", "stderr"],
    }
    ports = {"direct": direct, "gateway": through, "nginx": nginx}
    jwks = json.dumps({"keys": [public_jwk(key.public_key(), _KEY_ID)]}).encode()
    with contextlib.ExitStack() as stack:
        targets = [
            Target(name, ports[name], stack.enter_context(_running(command, environment, jwks)))
            for name, command in commands.items()
        ]
        for port in ports.values():
            _wait_for(port)
        # The key set is fetched a moment after the gateway begins to listen.
        time.sleep(1)
        yield targets, mint(claims, key, _KEY_ID)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], stdin: bytes) -> Iterator[int]:
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
