"""`vedette simulate trucks`: a fleet to look at, to measure with and to break things with."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer

from services.fleet.simulator.pictures import pictures
from services.fleet.simulator.truck import Ledger, Plan, SimulatedTruck
from services.fleet.simulator.wires import ModernWire, OldWire, Wire

app = typer.Typer(no_args_is_help=True, help="Devices that are not there.")


@app.callback()
def options() -> None:
    """Devices that are not there."""


@app.command("trucks")
def simulate_trucks(
    trucks: Annotated[int, typer.Option(min=1, help="How many trucks drive.")] = 5,
    rate: Annotated[float, typer.Option(min=0.01, help="Frames a second of each truck.")] = 1.0,
    alerts: Annotated[float, typer.Option(min=0, help="Alerts a minute of each truck.")] = 1.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long they drive.")] = 60.0,
    outage: Annotated[
        str, typer.Option(help="`START:SECONDS`: when the trucks lose the network, for how long.")
    ] = "",
    wire: Annotated[str, typer.Option(help="`old` or `modern`.")] = "old",
    url: Annotated[str, typer.Option(help="Where the gateway is.")] = "http://127.0.0.1:8000",
    frames: Annotated[
        Path | None, typer.Option(help="A folder of JPEG pictures; drawn ones if unset.")
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="VEDETTE_TOKEN", help="An administrator's access token, for `--wire modern`."
        ),
    ] = "",
) -> None:
    """Let trucks drive, see things, lose the network and catch up; tell what became of it."""
    if wire not in ("old", "modern") or (wire == "modern" and not token):
        typer.echo("--wire is `old`, or `modern` with a --token of an administrator.", err=True)
        raise typer.Exit(2)
    try:
        lost_at, lost_s = (float(part) for part in (outage or "0:0").split(":"))
        sources = [pictures(frames, seed=number) for number in range(trucks)]
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error

    async def run() -> Ledger:
        limits = httpx.Limits(max_connections=256)
        async with httpx.AsyncClient(
            base_url=url, timeout=30, limits=limits, trust_env=False
        ) as client:
            ledger, plan = Ledger(), Plan(rate, alerts)
            names = secrets.token_hex(3)
            driving = []
            for number, source in enumerate(sources):
                own = await _wire(client, wire, names, number, token)
                driving.append(SimulatedTruck(own, plan, source, ledger, number))
            tasks = [asyncio.create_task(truck.drive(seconds)) for truck in driving]
            losing = asyncio.create_task(lose_network(driving, lost_at, lost_s))
            await asyncio.gather(*tasks)
            losing.cancel()
            return ledger

    begun = time.monotonic()
    ledger = asyncio.run(run())
    _tell(ledger, time.monotonic() - begun)
    if ledger.rejected:
        raise typer.Exit(1)


async def lose_network(trucks: list[SimulatedTruck], start_s: float, seconds: float) -> None:
    """Take the trucks' network away for a while."""
    if seconds <= 0:
        return
    await asyncio.sleep(start_s)
    for truck in trucks:
        truck.is_offline = True
    await asyncio.sleep(seconds)
    for truck in trucks:
        truck.is_offline = False


async def _wire(client: httpx.AsyncClient, wire: str, names: str, number: int, token: str) -> Wire:
    name = f"Truck {names}-{number}"
    if wire == "old":
        digits = secrets.token_hex(6)
        mac = ":".join(digits[at : at + 2] for at in range(0, 12, 2))
        return OldWire(client, mac, secrets.token_urlsafe(12), name)
    headers = {"Authorization": f"Bearer {token}"}
    made = await client.post("/api/v2/fleet/trucks", json={"name": name}, headers=headers)
    made.raise_for_status()
    path = f"/api/v2/fleet/trucks/{made.json()['id']}/enrolments"
    enrolment = await client.post(path, headers=headers)
    enrolment.raise_for_status()
    return ModernWire(client, enrolment.json()["code"])


def _tell(ledger: Ledger, seconds: float) -> None:
    kinds = [message.kind for message in ledger.acknowledged]
    waits = sorted(ledger.waits_s) or [0.0]
    typer.echo(
        f"{len(kinds)} acknowledged in {seconds:.1f} s: {kinds.count('open')} alerts,"
        f" {kinds.count('frame')} frames of alerts, {kinds.count('safe')} safe frames;"
        f" {ledger.repeated} sent again, {ledger.dropped} let go, {len(ledger.rejected)} refused;"
        f" p50 {1000 * waits[len(waits) // 2]:.1f} ms,"
        f" p99 {1000 * waits[int(len(waits) * 0.99)]:.1f} ms"
    )
    for reason in ledger.rejected[:5]:
        typer.echo(f"  refused: {reason}", err=True)
