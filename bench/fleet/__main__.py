"""Measures fleet on its own port, with auth and a durable PostgreSQL: `python -m bench.fleet`.

Frames: raw and base64, stored (file and folder synchronised, row committed) before they are
acknowledged. Where others use the machine too, frames per second of the service's processor time
say more than frames per second. Events: from before the request that opens an alert until the
notice is in the client, for every client. Storm: sockets that all come back within 30 seconds
while alerts go on; each must have heard of every alert. Stalled: what clients cost that read
nothing while notices are written for them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.fleet.frames import Result, base64_requests, picture, raw_requests, send
from bench.fleet.listeners import Listener, connect
from shared.assertions import ANONYMOUS, GATEWAY, HEADER, AssertionSigner, Caller
from shared.keys import ensure_keys, read_key
from shared.postgres import EmbeddedPostgres, make_home
from shared.settings import SERVICES

PORT = 18_840
FLEET_PORT = PORT + 1 + SERVICES.index("fleet")
AUTH_PORT = PORT + 1 + SERVICES.index("auth")
_PASSWORD = "nine grey herons over the fen"  # noqa: S105  # of an account that lives a minute
_FRAME_BYTES = 60_000


@dataclass
class Rig:
    """The processes that are measured, and who may call them."""

    fleet: psutil.Process
    postgres: psutil.Process
    http: httpx.AsyncClient
    signer: AssertionSigner
    token: str
    """An administrator's, of the old wire."""

    def assertion(self, caller: Caller = ANONYMOUS) -> str:
        """The gateway's word, for a minute."""
        return self.signer.sign(caller, "fleet")

    async def old(self, path: str, **body: object) -> dict[str, object]:
        """A request of the old wire."""
        answer = await self.http.post(
            f"/api/v1/{path}/", json=body, headers={HEADER: self.assertion()}
        )
        answer.raise_for_status()
        data: dict[str, object] = answer.json()["data"]
        return data

    async def truck(self) -> tuple[str, int]:
        """A truck's token and number."""
        name = uuid4().hex[:12]
        mac = ":".join(name[at : at + 2] for at in range(0, 12, 2))
        data = await self.old("jetson/register", mac=mac, password=_PASSWORD, name=name)
        return str(data["token"]), int(str(data["truck_id"]))

    async def alert(self, token: str, truck: int) -> int:
        """An alert's number; each call is another alert."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_600_000_000 + next(_SECONDS)))
        data = await self.old(
            "alert", token=token, truck_id=truck, alert_init=at, behavior="Tamper"
        )
        return int(str(data["alert_id"]))

    def seconds_used(self) -> tuple[float, float]:
        """Processor time of fleet and of PostgreSQL."""
        return _used(self.fleet), _used(self.postgres)


_SECONDS = iter(range(0, 400_000_000, 7_300))


def _used(process: psutil.Process) -> float:
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return total


@contextlib.contextmanager
def processes(threads: int) -> Iterator[tuple[Path, int, int]]:
    """Auth and fleet over a durable database: the home, fleet's process, PostgreSQL's."""
    home = Path(tempfile.mkdtemp(prefix="vedette-bench-"))
    home.chmod(0o755)
    make_home(home)
    ensure_keys(home / "keys")
    server = EmbeddedPostgres(home)
    url = server.start(timeout_s=60)
    environment = {name: value for name, value in os.environ.items() if "VEDETTE" not in name} | {
        "VEDETTE_HOME": str(home),
        "VEDETTE_PORT": str(PORT),
        "VEDETTE_DATABASE_URL": url,
        "VEDETTE_ADMIN_PASSWORD": _PASSWORD,
        "VEDETTE_RATE_LIMIT_SCALE": "0",
        "VEDETTE_LOG_LEVEL": "warning",
        "VEDETTE_THREADS": str(threads),
    }
    started = [
        subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment)
        for name in ("auth", "fleet")
    ]
    try:
        yield home, started[1].pid, server.process_id or 0
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.asynccontextmanager
async def running(threads: int) -> AsyncIterator[Rig]:
    """What is measured, once it is ready."""
    with processes(threads) as (home, fleet, postgres):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{FLEET_PORT}", timeout=60, trust_env=False
        ) as http:
            for port in (AUTH_PORT, FLEET_PORT):
                await _wait(http, f"http://127.0.0.1:{port}/readyz")
            signer = AssertionSigner(GATEWAY, read_key(home / "keys", "assertion-fleet"))
            rig = Rig(psutil.Process(fleet), psutil.Process(postgres), http, signer, "")
            rig.token = str((await rig.old("login", username="admin", password=_PASSWORD))["token"])
            yield rig


async def _wait(http: httpx.AsyncClient, url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if (await http.get(url)).status_code == 200:
                return
        await asyncio.sleep(0.1)
    raise SystemExit(f"{url} is not ready")


async def measure_frames(rig: Rig, connections: int, seconds: float, table: Table) -> None:
    """Frames of 60 KB from several trucks at once."""
    body = picture(_FRAME_BYTES)
    for kind in ("raw", "base64"):
        sources = []
        for _ in range(connections):
            token, truck = await rig.truck()
            if kind == "raw":
                claims = json.loads(_middle(token))
                device = Caller(
                    claims["sub"], "device", scopes=frozenset({"fleet:ingest"}), credential="bearer"
                )
                path = "/api/v2/fleet/frames"
                sources.append(raw_requests(path, rig.assertion(device), body))
            else:
                alert = await rig.alert(token, truck)
                sources.append(base64_requests("/api/v1/log/", rig.assertion(), token, alert, body))
        await send(FLEET_PORT, sources, 1, _is_good)  # warm
        before = rig.seconds_used()
        result = await send(FLEET_PORT, sources, seconds, _is_good)
        after = rig.seconds_used()
        _show(table, kind, result, after[0] - before[0], after[1] - before[1])


def _is_good(head: bytes) -> bool:
    return head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201"))


def _middle(token: str) -> bytes:
    import base64

    middle = token.split(".")[1]
    return base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))


def _show(table: Table, kind: str, result: Result, fleet_s: float, postgres_s: float) -> None:
    table.add_row(
        f"frames, {kind}",
        f"{result.stored / result.seconds:,.0f}/s"
        + (f" ({result.failed} failed)" if result.failed else ""),
        f"{result.stored / fleet_s:,.0f} per processor second of fleet"
        f" ({1000 * fleet_s / result.stored:.2f} ms; PostgreSQL"
        f" {1000 * postgres_s / result.stored:.2f} ms); p99 {result.p99_ms:.0f} ms",
    )


async def measure_events(rig: Rig, sockets: int, alerts: int, table: Table) -> None:
    """How long a notice takes to every one of many clients."""
    waits: list[float] = []
    begun = 0.0
    pending = 0
    done = asyncio.Event()

    def heard(_: Listener, name: str, now: float) -> None:
        nonlocal pending
        if name == "an_alert":
            waits.append(now - begun)
            pending -= 1
            if pending == 0:
                done.set()

    listeners: list[Listener] = []
    for _ in range(0, sockets, 50):
        listeners += await asyncio.gather(
            *(connect(FLEET_PORT, rig.token, rig.assertion(), heard) for _ in range(50))
        )
    token, truck = await rig.truck()
    answered: list[float] = []
    used = _used(rig.fleet)
    for _ in range(alerts):
        pending = len(listeners)
        done.clear()
        begun = time.perf_counter()
        await rig.alert(token, truck)
        answered.append(time.perf_counter() - begun)
        await asyncio.wait_for(done.wait(), 60)
        await asyncio.sleep(0.2)
    used = _used(rig.fleet) - used
    for listener in listeners:
        listener.close()
    waits.sort()
    answered.sort()
    table.add_row(
        f"events, {len(listeners)} sockets",
        f"p99 {1000 * waits[int(len(waits) * 0.99)]:.1f} ms",
        f"p50 {1000 * waits[len(waits) // 2]:.1f} ms, from before the request;"
        f" its answer takes {1000 * answered[len(answered) // 2]:.1f} ms at the median;"
        f" {1e6 * used / len(waits):.0f} microseconds of fleet per delivery",
    )


async def measure_storm(rig: Rig, sockets: int, table: Table) -> None:
    """Everybody comes back within 30 s, by its cursor, while alerts go on."""
    token, truck = await rig.truck()
    opened: set[int] = set()
    over = asyncio.Event()

    async def keep_alerting() -> None:
        while not over.is_set():
            opened.add(await rig.alert(token, truck))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.5)

    def ignore(_: Listener, __: str, ___: float) -> None:
        return

    first = await connect(FLEET_PORT, rig.token, rig.assertion(), ignore)
    cursor = first.cursor
    first.close()
    alerting = asyncio.create_task(keep_alerting())
    begun = time.perf_counter()
    gate = asyncio.Semaphore(64)

    async def come(number: int) -> Listener:
        await asyncio.sleep(number / sockets * 25)
        async with gate:
            return await connect(FLEET_PORT, rig.token, rig.assertion(), ignore, cursor)

    listeners = await asyncio.gather(*(come(number) for number in range(sockets)))
    seconds = time.perf_counter() - begun
    over.set()
    await alerting
    for _ in range(200):
        if all(one.alerts == opened for one in listeners):
            break
        await asyncio.sleep(0.1)
    missing = sum(one.alerts != opened for one in listeners)
    grown = rig.fleet.memory_info().rss
    for listener in listeners:
        listener.close()
    table.add_row(
        f"storm, {sockets} sockets",
        f"all back in {seconds:.1f} s",
        f"{len(opened)} alerts meanwhile; {missing} clients missed one; fleet {grown / 1e6:.0f} MB",
    )


async def measure_stalled(rig: Rig, clients: int, table: Table) -> None:
    """Clients that read nothing, while 2,000 notices are written for each."""
    token, truck = await rig.truck()
    sockets = []
    for _ in range(clients):
        stalled = socket.create_connection(("127.0.0.1", FLEET_PORT))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hello = f"40/alert,{json.dumps({'token': rig.token})}".encode()
        stalled.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket"
            b"\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
            b"dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + f"{HEADER}: {rig.assertion()}\r\n\r\n".encode()
            + b"\x81\xfe" + len(hello).to_bytes(2, "big") + bytes(4) + hello
        )  # fmt: skip
        sockets.append(stalled)
    await asyncio.sleep(2)
    before = rig.fleet.memory_info().rss
    highest = before
    for _ in range(20):
        await asyncio.gather(*(rig.alert(token, truck) for _ in range(50)))
        highest = max(highest, rig.fleet.memory_info().rss)
    metrics = (await rig.http.get("/metrics", headers={HEADER: rig.assertion()})).text
    dropped = next(
        (
            float(line.rpartition(" ")[2])
            for line in metrics.splitlines()
            if line.startswith('vedette_fleet_dropped_total{reason="slow"}')
        ),
        0.0,
    )
    for stalled in sockets:
        stalled.close()
    table.add_row(
        f"stalled, {clients} clients",
        f"{(highest - before) / 1e6 / clients:.2f} MB each",
        f"{dropped:.0f} were dropped after 1,000 alerts",
    )


async def main(arguments: argparse.Namespace) -> None:
    """Run what was asked for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    table = Table("what", "figure", "beside it", title="fleet")
    chosen = arguments.what or ["frames", "events", "stalled", "storm"]
    async with running(arguments.threads) as rig:
        if "frames" in chosen:
            await measure_frames(rig, arguments.connections, arguments.seconds, table)
        if "events" in chosen:
            await measure_events(rig, arguments.sockets, arguments.alerts, table)
        if "stalled" in chosen:
            await measure_stalled(rig, 20, table)
        if "storm" in chosen:
            await measure_storm(rig, arguments.storm, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["frames", "events", "stalled", "storm", []])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--alerts", type=int, default=30)
    parser.add_argument("--storm", type=int, default=5000)
    asyncio.run(main(parser.parse_args()))
