"""Measures a model service against a bare loop and other servers: `python -m bench.serving`.

All get the same ONNX file, the same bytes and the same client, in turns, on this machine:

- the bare loop: prepare the picture and run the network, one single-threaded caller per core, no
  server at all; and the run alone, on a body that is prepared already;
- Vedette: the smallest service of the platform, directly and through the real gateway;
- peers from PyPI in an environment of their own (`.cache/bench-venv`), each as it advises.

Shares are medians over the rounds of ratios within a round, because machines are shared and what
they give varies. `--overload` asks for three times the capacity; `--swap` replaces the network
while it is asked; `--soak` puts a mixed load on it for long, and fails if anything grows.
`VEDETTE_DEVICE=cuda` measures all of it on a GPU, and fails without one.

Needs `wrk` (Debian: `apt-get install wrk`).
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from rich.console import Console
from rich.table import Table

from bench.gpu.utilisation import Watch, watching
from bench.serving.bare import BareNetwork, Setup
from bench.serving.figures import LIMIT, Load, Measured, to_json, to_table
from bench.serving.loads import BareLoop, Neighbours, put_load, undisturbed
from bench.serving.networks import (
    SHAPES,
    TINY,
    Shape,
    draw_picture,
    draw_tensor,
    make_package,
)
from bench.serving.service import VERSION_PATH
from bench.serving.soak import Bodies, bad_bodies, find_growth, soak
from bench.serving.soak import to_table as to_soak_table
from bench.serving.targets import (
    PEERS,
    Peer,
    PeerUnavailable,
    Stage,
    Target,
    alone,
    install_peers,
    wait_until_it_answers,
)
from bench.serving.trials import Overload, Swaps, overload, swap
from shared.cores import usable_cores
from shared.inference.devices import choose_device

_RUN_ALONE = "bare run, no picture"
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    shapes: tuple[Shape, ...]
    bodies: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    peers: tuple[Peer, ...]
    device: str
    patience_s: float


def main() -> None:
    """Measure and print."""
    options = _options()
    if shutil.which("wrk") is None:
        sys.exit("wrk not found: apt-get install wrk")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    console = Console(width=130)
    plan = _plan(options)
    on_gpu = plan.device.startswith("cuda")
    for name, why in install_peers(plan.peers, on_gpu=on_gpu).items():
        console.print(f"{name} is left out: it cannot be installed ({why})")
    began_at = time.monotonic()
    result: dict[str, Any] = {
        "machine": _describe(plan), "loads": [], "overload": [], "swap": [], "soak": [],
    }  # fmt: skip
    console.print(result["machine"])
    for shape in plan.shapes:
        with tempfile.TemporaryDirectory() as folder:
            _measure_network(shape, plan, options, Path(folder), console, result)
    console.print(f"{time.monotonic() - began_at:.0f} s in all")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1))
    if any(each["growth"] or each["wrong"] for each in result["soak"]):
        sys.exit(1)


def _measure_network(
    shape: Shape,
    plan: Plan,
    options: argparse.Namespace,
    folder: Path,
    console: Console,
    result: dict[str, Any],
) -> None:
    packages = tuple(
        make_package(folder / f"version-{number}", shape, seed=number + 1) for number in range(2)
    )
    setup = Setup(
        network=packages[0] / "model.onnx",
        side_px=shape.side_px,
        threads=usable_cores(),
        is_on_gpu=plan.device.startswith("cuda"),
    )
    bodies = {"picture": draw_picture(shape), "tensor": draw_tensor(shape)}
    # An overload is told from a crowd by a deadline; everything else may take its time.
    deadline_s = options.deadline if options.overload else 30.0
    with Stage(folder, setup, plan.device, packages, deadline_s) as stage:
        targets = _start(stage, plan, bodies["picture"], console)
        chosen = [each for each in targets if not options.only or each.name in options.only]
        if options.overload:
            result["overload"] += _overload(shape, chosen, bodies["picture"], options, console)
        if options.swap:
            result["swap"] += _swap(shape, targets[0], packages, setup, bodies, options, console)
        if options.soak:
            result["soak"].append(_soak(shape, targets, packages, bodies, options, console))
        if not (options.overload or options.swap or options.soak):
            with watching() if setup.is_on_gpu else nullcontext(Watch()) as watch:
                result["loads"] += _steady(
                    shape, plan, setup, targets, chosen, bodies, folder, watch, console
                )


def _start(stage: Stage, plan: Plan, body: bytes, console: Console) -> list[Target]:
    """Everything that answers, once it gives the answer of the bare network."""
    expected = BareNetwork(stage.setup).answer(body)
    targets = []
    for target in stage.start_vedette():
        _check(target, wait_until_it_answers(target, body), expected)
        targets.append(target)
    said = json.loads(targets[0].ask("GET", VERSION_PATH))
    console.print(f"Vedette runs {said['network']} on {said['device']}")
    if plan.device.startswith("cuda") and not said["device"].startswith("cuda"):
        sys.exit("Vedette does not run on the GPU.")
    for peer in plan.peers:
        try:
            target = stage.start_peer(peer)
            _check(target, wait_until_it_answers(target, body), expected)
        except PeerUnavailable as why:
            console.print(f"{peer.name} is left out: {why}")
        else:
            targets.append(target)
    return targets


def _check(target: Target, found: Sequence[float], expected: Sequence[float]) -> None:
    if not np.allclose(found, expected, atol=_TOLERANCE):
        sys.exit(f"{target.name} answers {found}, the bare network {expected}")


def _steady(
    shape: Shape,
    plan: Plan,
    setup: Setup,
    started: Sequence[Target],
    targets: Sequence[Target],
    bodies: dict[str, bytes],
    folder: Path,
    watch: Watch,
    console: Console,
) -> list[dict[str, object]]:
    bare = BareLoop(setup)
    console.print(f"the bare loop runs on {bare.provider}")
    loads = [
        Load(shape.name, body, connections)
        for body in plan.bodies
        if body == "picture" or shape is TINY
        for connections in plan.connections
    ]
    names = (LIMIT, _RUN_ALONE, *(target.name for target in targets))
    found = {load: {name: list[Measured]() for name in names} for load in loads}
    for target in targets:
        put_load(target, bodies["picture"], 4, 1, folder)
    for number in range(plan.rounds):
        for load in loads:
            body = bodies[load.body]
            seconds = plan.seconds
            ways: dict[str, Callable[[], Measured]] = {
                LIMIT: partial(bare.measure, body, load.connections, seconds),
                _RUN_ALONE: partial(bare.measure_runs, body, load.connections, seconds),
            }
            # Nobody always has the same neighbour.
            turn = number % len(targets)
            for target in (*targets[turn:], *targets[:turn]):
                ways[target.name] = partial(
                    put_load, target, body, load.connections, seconds, folder
                )
            by_name = {target.name: target for target in started}
            for name, measure in ways.items():
                with alone(started, by_name.get(name)):
                    began_at = time.perf_counter()
                    measured = undisturbed(measure, plan.patience_s)
                    busy = watch.busy_since(began_at)
                found[load][name].append(replace(measured, gpu_busy=busy))
    for load in loads:
        console.print(to_table(load, found[load]))
    return to_json(found)


def _overload(
    shape: Shape,
    targets: Sequence[Target],
    body: bytes,
    options: argparse.Namespace,
    console: Console,
) -> list[dict[str, object]]:
    found: list[Overload] = [overload(target, body, options.seconds) for target in targets]
    table = Table(
        title=f"{shape.name} network, three times the capacity, deadline {options.deadline:g} s",
        title_justify="left",
    )
    table.add_column("target")
    for heading in (
        "capacity/s", "sent/s", "good/s", "of capacity", "accepted p50 ms", "p99 ms",
        "refused", "refused p99 ms", "late", "failed",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for each in found:
        got = each.found
        table.add_row(
            each.target,
            f"{each.capacity_per_s:.1f}",
            f"{got.sent_per_s:.0f}",
            f"{got.good_per_s:.1f}",
            f"{each.goodput:.2f}",
            f"{got.accepted_p50_ms:.0f}",
            f"{got.accepted_p99_ms:.0f}",
            f"{got.refused_share:.0%}",
            f"{got.refused_p99_ms:.0f}",
            str(got.late),
            str(got.failed),
        )
    console.print(table)
    return [{"network": shape.name, **asdict(each)} for each in found]


def _swap(
    shape: Shape,
    target: Target,
    packages: Sequence[Path],
    setup: Setup,
    bodies: dict[str, bytes],
    options: argparse.Namespace,
    console: Console,
) -> list[dict[str, object]]:
    known = _known(target, packages, bodies["picture"])
    found: Swaps = swap(target, bodies["picture"], options.seconds, known)
    console.print(
        f"{shape.name} network replaced {found.changes} times under load: {found.answers:,} "
        f"answers of {found.versions_seen} versions, {found.failed} failed, {found.mixed} mixed, "
        f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms"
    )
    return [{"network": shape.name, **asdict(found)}]


def _known(target: Target, packages: Sequence[Path], picture: bytes) -> dict[str, list[float]]:
    """The logits of every version; asked of the service, because it says which one answers."""
    known = {}
    for number in range(len(packages)):
        target.ask("PUT", f"{VERSION_PATH}/{number}")
        said = json.loads(target.ask("POST", target.path, picture))
        known[said["network"]] = said["logits"]
    return known


def _soak(
    shape: Shape,
    targets: Sequence[Target],
    packages: Sequence[Path],
    bodies: dict[str, bytes],
    options: argparse.Namespace,
    console: Console,
) -> dict[str, object]:
    direct, _, gateway = targets[:3]
    sent = Bodies(bodies["picture"], bodies["tensor"], bad_bodies(bodies["picture"]))
    samples = soak(
        direct,
        gateway,
        sent,
        _known(direct, packages, bodies["picture"]),
        options.soak,
        lambda: Neighbours().cores,
    )
    growth = find_growth(samples)
    wrong = sum(each.failed + each.mixed for each in samples)
    title = f"{shape.name} network, mixed load for {options.soak:g} s, service and gateway together"
    console.print(to_soak_table(title, samples))
    console.print("; ".join(growth) or "nothing grew", f"{wrong} answers were wrong", sep=", ")
    return {"network": shape.name, "samples": [asdict(each) for each in samples],
            "growth": growth, "wrong": wrong}  # fmt: skip


def _plan(options: argparse.Namespace) -> Plan:
    shapes = tuple(shape for shape in SHAPES if options.network in (None, shape.name))
    connections = tuple(options.connections or ((1, 32) if options.quick else (1, 8, 32, 128)))
    bodies = ("picture", "tensor") if options.body is None else (options.body,)
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
        bodies = ("picture",)
    peers: tuple[Peer, ...] = () if options.no_peers or options.soak else PEERS
    if options.only:
        peers = tuple(peer for peer in peers if peer.name in options.only)
    device = str(choose_device(os.environ.get("VEDETTE_DEVICE", "auto")))
    return Plan(
        shapes, bodies, connections, options.rounds, options.seconds, peers, device,
        options.patience,
    )  # fmt: skip


def _describe(plan: Plan) -> str:
    now = datetime.now(UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, {usable_cores()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, {plan.device}; medians of {plan.rounds} rounds "
        f"of {plan.seconds:g} s; load average {os.getloadavg()[0]:.1f} at the start"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, under 90 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--network", choices=[shape.name for shape in SHAPES])
    parser.add_argument("--body", choices=("picture", "tensor"))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="targets by name; the bare loop always runs"
    )
    trial = parser.add_mutually_exclusive_group()
    trial.add_argument("--overload", action="store_true", help="instead: 3 times the capacity")
    trial.add_argument("--swap", action="store_true", help="instead: another version under load")
    trial.add_argument(
        "--soak",
        type=float,
        metavar="SECONDS",
        help="instead: a mixed load; fails if anything grows",
    )
    parser.add_argument(
        "--deadline", type=float, default=1.0, help="seconds for an answer in an overload"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        help="seconds to spend on each figure until others leave the machine alone",
    )
    parser.add_argument("--json", type=Path, help="where to write every figure")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
