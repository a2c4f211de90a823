"""Trucks send while every process and the database die: `python -m tests.reliability.fleet_chaos`.

Each message is sent until it is acknowledged. What was stored without an acknowledgement and sent
again must be one row; so in the end the rows are exactly the messages.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from services.fleet.simulator.command import lose_network
from services.fleet.simulator.pictures import drawn
from services.fleet.simulator.truck import Ledger, Plan, SimulatedTruck
from services.fleet.simulator.wires import ModernWire, OldWire, Wire
from shared.background import running
from shared.keys import ensure_keys
from shared.postgres import EmbeddedPostgres
from tests.database import ROOT
from tests.e2e.conftest import new_home
from tests.holding import HASTY
from tests.running import free_ports
from tests.services.fleet.support import Mine, Person

PASSWORD = "nine grey herons over the fen"


@dataclass
class Yard:
    """The processes of a mine, which may be killed; each is started again."""

    home: Path
    port: int
    server: EmbeddedPostgres
    url: str
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start auth, fleet or the gateway."""
        inherited = {key: value for key, value in os.environ.items() if "VEDETTE" not in key}
        module = name if name == "gateway" else f"services.{name}"
        self.started[name] = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            env=inherited
            | {
                "VEDETTE_HOME": str(self.home),
                "VEDETTE_PORT": str(self.port),
                "VEDETTE_DATABASE_URL": self.url,
                "VEDETTE_ADMIN_USERNAME": "chief",
                "VEDETTE_ADMIN_PASSWORD": PASSWORD,
                "VEDETTE_RATE_LIMIT_SCALE": "0",
                "VEDETTE_LOG_LEVEL": "error",
            },
        )

    def kill(self, name: str) -> None:
        """End one the way that leaves it no last word, and start it again."""
        self.started[name].kill()
        self.started[name].wait(10)
        self.start(name)

    async def supervise(self) -> None:
        """Start again what ended by itself, as a process does that starts without a database."""
        while True:
            for name, process in list(self.started.items()):
                if process.poll() is not None:
                    self.start(name)
            await asyncio.sleep(0.1)

    async def restart_database(self) -> None:
        """Kill the postmaster and start it again."""
        os.kill(self.server.process_id or 0, signal.SIGKILL)
        while self.server.is_running:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.server.start)


@contextlib.contextmanager
def running_yard() -> Iterator[Yard]:
    """Three processes over a database of their own, which waits for the disk."""
    home = new_home()
    ensure_keys(home / "keys")
    server = EmbeddedPostgres(home, options={"shared_buffers": HASTY["shared_buffers"]})
    yard = Yard(home, free_ports(7), server, server.start(timeout_s=60))
    for name in ("auth", "fleet", "gateway"):
        yard.start(name)
    yield yard
    for process in yard.started.values():
        process.terminate()
    for process in yard.started.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
    server.stop()
    shutil.rmtree(home)


async def ready(yard: Yard, http: httpx.AsyncClient) -> Mine:
    """The mine, once an administrator can sign in."""
    url = f"http://127.0.0.1:{yard.port}"
    mine = Mine(url, "", yard.url, yard.home / "keys", http)
    login = {"username": "chief", "password": PASSWORD}
    async with asyncio.timeout(180):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await mine.old("POST", "login/", json=login)
                if answer.status_code == 200:
                    return mine
            await asyncio.sleep(0.1)


async def wires(mine: Mine, admin: Person, trucks: int) -> list[Wire]:
    """Half of the trucks speak the old wire, half the modern one."""
    found: list[Wire] = []
    for number in range(trucks):
        name = f"Truck {number}"
        if number % 2:
            found.append(
                OldWire(
                    mine.http, f"02:00:00:00:{number // 256:02x}:{number % 256:02x}", PASSWORD, name
                )
            )
            continue
        made = await mine.modern("POST", "trucks", json={"name": name}, headers=admin.headers)
        path = f"trucks/{made.json()['id']}/enrolments"
        code = await mine.modern("POST", path, headers=admin.headers)
        found.append(ModernWire(mine.http, code.json()["code"]))
    return found


async def kill_everything(yard: Yard, rounds: int, pause_s: float) -> None:
    """Kill fleet, what stands in front of it, and the postmaster, round after round."""
    for _ in range(rounds):
        for name in ("fleet", "gateway", "auth"):
            await asyncio.sleep(pause_s)
            yard.kill(name)
        await asyncio.sleep(pause_s)
        await yard.restart_database()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was said, and what is there."""

    ledger: Ledger
    said: dict[str, list[int]]
    stored: dict[str, list[int]]
    missing_pictures: int

    @property
    def lost(self) -> int:
        """Acknowledged messages that are not there."""
        return sum(len(set(self.said[kind]) - set(self.stored[kind])) for kind in self.said)

    @property
    def twice(self) -> int:
        """Rows that no message of their own stands for."""
        return sum(len(self.stored[kind]) - len(set(self.said[kind])) for kind in self.said)


async def run(
    trucks: int, seconds: float, rate: float, *, rounds: int, pause_s: float, outage_s: float = 0
) -> Outcome:
    """Let trucks drive while everything dies, and count."""
    ledger = Ledger()
    with running_yard() as yard:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{yard.port}", timeout=10, trust_env=False, limits=limits
        ) as http:
            mine = await ready(yard, http)
            admin = await mine.log_in("chief", PASSWORD)
            plan = Plan(frames_per_s=rate, alerts_per_min=12, alert_s=1)
            driving = [
                SimulatedTruck(wire, plan, drawn(number % 4), ledger, number)
                for number, wire in enumerate(await wires(mine, admin, trucks))
            ]
            async with running(yard.supervise()):
                await asyncio.gather(
                    kill_everything(yard, rounds, pause_s),
                    lose_network(driving, pause_s, outage_s),
                    *(truck.drive(seconds) for truck in driving),
                )
        return await _count(yard, ledger)


async def _count(yard: Yard, ledger: Ledger) -> Outcome:
    connection = await asyncpg.connect(yard.url)
    try:
        alerts = await connection.fetch("SELECT number, ended_at FROM fleet.alerts")
        frames = await connection.fetch("SELECT number, pack_sha256 FROM fleet.frames")
        opened = await connection.fetch(
            "SELECT CAST(data->>'alert_number' AS bigint) AS number FROM fleet.events"
            " WHERE type = 'alert.opened'"
        )
    finally:
        await connection.close()

    def said(*kinds: str) -> list[int]:
        return sorted(int(one.name) for one in ledger.acknowledged if one.kind in kinds)

    folder = yard.home / "objects" / "fleet"
    packs = {row["pack_sha256"] for row in frames}
    return Outcome(
        ledger,
        {
            "alerts": said("open"),
            "announcements": said("open"),
            "ends": said("end"),
            "frames": said("frame", "safe"),
        },
        {
            "alerts": sorted(row["number"] for row in alerts),
            "announcements": sorted(row["number"] for row in opened),
            "ends": sorted(row["number"] for row in alerts if row["ended_at"]),
            "frames": sorted(row["number"] for row in frames),
        },
        sum(not (folder / name[:2] / name).exists() for name in packs),
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trucks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause-s", type=float, default=8)
    parser.add_argument("--outage-s", type=float, default=60)
    given = parser.parse_args()
    outcome = asyncio.run(
        run(
            given.trucks,
            given.seconds,
            given.rate,
            rounds=given.rounds,
            pause_s=given.pause_s,
            outage_s=given.outage_s,
        )
    )
    print(  # noqa: T201  # what the command is for
        f"{len(outcome.ledger.acknowledged)} acknowledged, {outcome.ledger.repeated} sent again,"
        f" {outcome.lost} lost, {outcome.twice} twice, {len(outcome.ledger.rejected)} refused,"
        f" {outcome.missing_pictures} packs missing"
    )


if __name__ == "__main__":
    _main()
