"""Every request is answered once and with its own answer, whatever else happens meanwhile.

The device is a stand-in that computes when the test lets it, so that arrivals, cancellations,
swaps, evictions and ends of runs meet in every order that Hypothesis thinks of.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.inference import (
    Engine,
    EngineBusy,
    EngineStopped,
    InferenceDeadline,
    ModelPackage,
    Network,
    OutOfMemory,
    Priority,
)
from shared.inference.devices import Device
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from shared.inference.served import Served
from tests.shared.inference.sessions import POISON, THREADED_S, version_of


class Unreadable(Exception):
    """A picture cannot be prepared."""


REFUSALS = (EngineBusy, EngineStopped, InferenceDeadline, NetworkFailed, OutOfMemory, Unreadable)
GAINS = (1, 2, 3)


@dataclass
class Pedal:
    """Lets the device compute, one run at a time or freely."""

    runs: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_free: bool = True

    def press(self) -> None:
        """Let one more run end."""
        self.runs.release()

    def release_all(self) -> None:
        """Let all runs end from now on."""
        self.is_free = True
        self.runs.release(100_000)

    def wait(self) -> None:
        """Wait until a run may end."""
        if not self.is_free:
            self.runs.acquire(timeout=20)


@dataclass
class PedalledSession:
    """A real session that ends its runs when it is let, and fails on poison."""

    session: Session
    pedal: Pedal
    computed: list[float]
    is_brief: bool = False
    """Whether the event loop is to run it, which nothing may stop."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs."""
        (batch,) = feeds.values()
        before = batch.copy()
        if self.pedal.is_free and not self.is_brief:
            time.sleep(THREADED_S)
        if threading.current_thread() is not threading.main_thread():
            self.pedal.wait()
        # What runs is not written into by those who arrive.
        np.testing.assert_array_equal(batch, before)
        values = batch[:, 0, 0, 0]
        if (values == POISON).any():
            raise NetworkFailed("poison")
        self.computed.extend(float(value) for value in values)
        return self.session.run(feeds)


@dataclass(frozen=True)
class Ask:
    """A request for some pictures."""

    name: str
    pictures: int
    is_background: bool
    is_poison: bool
    deadline_s: float
    way: str
    """`run` on what is prepared; or prepared by the engine's threads or `aside` or `here`."""


@dataclass(frozen=True)
class Cancel:
    """Cancel one of the requests."""

    number: int


@dataclass(frozen=True)
class Swap:
    """Begin to replace the version behind a name."""

    name: str
    version: int


@dataclass(frozen=True)
class Step:
    """Let a run end, or only the event loop turn."""

    is_run: bool
    turns: int


names = st.sampled_from(["first", "second"])
asks = st.builds(
    Ask,
    name=names,
    pictures=st.sampled_from([1, 1, 1, 1, 2, 5]),
    is_background=st.booleans(),
    is_poison=st.sampled_from([False, False, False, True]),
    deadline_s=st.sampled_from([20.0, 20.0, 20.0, 0.001]),
    way=st.sampled_from(["run", "run", "aside", "aside", "here", "unreadable"]),
)
moves = st.lists(
    st.one_of(
        asks,
        asks,
        asks,
        st.builds(Step, is_run=st.booleans(), turns=st.integers(0, 4)),
        st.builds(Cancel, number=st.integers(0, 40)),
        st.builds(Swap, name=names, version=st.integers(0, len(GAINS) - 1)),
    ),
    min_size=20,
    max_size=80,
)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[ModelPackage]:
    """Versions of one model, whose answers are 1, 2 and 3 times the picture."""
    folder: Path = tmp_path_factory.mktemp("versions")
    return [version_of(folder / str(gain), f"{gain}.0", gain, "stormy") for gain in GAINS]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    play=moves,
    callers=st.integers(1, 3),
    waiting_limit=st.integers(1, 12),
    is_cramped=st.booleans(),
    is_accelerator=st.booleans(),
    is_brief=st.booleans(),
    closes_early=st.booleans(),
)
def test_every_request_is_answered_once_with_its_own_answer(
    versions: list[ModelPackage],
    play: list[Ask | Cancel | Swap | Step],
    callers: int,
    waiting_limit: int,
    is_cramped: bool,
    is_accelerator: bool,
    is_brief: bool,
    closes_early: bool,
) -> None:
    """In any interleaving of cancel, swap, eviction, overload, lateness, failure and closing."""
    pedal, computed = Pedal(), list[float]()

    def open_session(network: bytes, device: Device) -> PedalledSession:
        session = Session(network, [(CPU_PROVIDER, {})], 1)
        return PedalledSession(session, pedal, computed, is_brief)

    engine = Engine(
        "cpu",
        threads=callers,
        waiting_limit=waiting_limit,
        open_session=open_session,
        memory_limit_bytes=versions[0].network_bytes * 3 // 2 if is_cramped else None,
        measure_memory=lambda: 0,
    )
    if is_accelerator:
        engine.device = Device("simulated", 0, callers=1, threads_per_run=1, why="the test says so")
    asyncio.run(_storm(engine, versions, pedal, computed, play, closes_early))


async def _storm(
    engine: Engine,
    versions: list[ModelPackage],
    pedal: Pedal,
    computed: list[float],
    play: list[Ask | Cancel | Swap | Step],
    closes_early: bool,
) -> None:
    served = {name: engine.serve(name, versions[0]) for name in ("first", "second")}
    computed.clear()
    next_value = 1.0
    requests: list[asyncio.Task[str]] = []
    swaps: list[asyncio.Task[Any]] = []
    for move in play:
        match move:
            case Ask():
                values = [next_value + each for each in range(move.pictures)]
                next_value += move.pictures
                if move.is_poison:
                    values[-1] = POISON
                requests.append(asyncio.create_task(_ask(served[move.name], move, values)))
            case Cancel() if requests:
                requests[move.number % len(requests)].cancel()
            case Swap():
                package = versions[move.version]
                swaps.append(asyncio.create_task(engine.replace(move.name, package, drain_s=None)))
            case Step():
                pedal.is_free = False
                if move.is_run:
                    pedal.press()
                for _ in range(move.turns):
                    await asyncio.sleep(0)
    await asyncio.sleep(0)
    pedal.release_all()
    if closes_early:
        await asyncio.to_thread(engine.close)
    outcomes = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), timeout=30)
    swapped = await asyncio.wait_for(asyncio.gather(*swaps, return_exceptions=True), timeout=30)
    await asyncio.to_thread(engine.close)

    unexpected = [
        outcome
        for outcome in outcomes
        if isinstance(outcome, BaseException)
        and not isinstance(outcome, (*REFUSALS, asyncio.CancelledError))
    ]
    assert unexpected == []
    assert len(outcomes) == len(requests)
    assert all(
        isinstance(outcome, (Network, EngineStopped, OutOfMemory, NetworkFailed))
        for outcome in swapped
    )
    for each in served.values():
        assert each.network.lane.waiting == 0
        assert each.network.lane.running == 0
        assert each.network.lane.preparing == 0


async def _ask(served: Served, ask: Ask, values: list[float]) -> str:
    """One request: its answer is that of one version to its own pictures, in their order."""
    shape = served.network.package.preprocess.shape
    tensor = np.stack([np.full(shape, value, np.float32) for value in values])
    with served.use() as network:
        gain = float(network.manifest.version)
        priority = Priority.BATCH if ask.is_background else Priority.INTERACTIVE
        if ask.way == "run" or len(values) > 1:
            outputs = await network.run(tensor, deadline_s=ask.deadline_s, priority=priority)
        else:
            prepared: list[bool] = []

            def prepare() -> NDArray[np.float32]:
                assert not prepared
                prepared.append(True)
                if ask.way == "unreadable":
                    raise Unreadable
                return tensor

            outputs = await network.prepare_and_run(
                prepare,
                aside=None if ask.way == "here" else asyncio.to_thread,
                deadline_s=ask.deadline_s,
                priority=priority,
            )
    expected = np.array([[gain * value, -gain * value] for value in values], np.float32)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5)
    assert not ask.is_poison
    return "answered"


async def test_overload_costs_the_accepted_nothing(versions: list[ModelPackage]) -> None:
    """At many times the capacity the device stays busy and the rest is refused at once."""
    pedal, computed = Pedal(), list[float]()

    def open_session(network: bytes, device: Device) -> PedalledSession:
        return PedalledSession(Session(network, [(CPU_PROVIDER, {})], 1), pedal, computed)

    with Engine("cpu", threads=1, waiting_limit=8, open_session=open_session) as engine:
        network = engine.load(versions[0])
        shape = network.package.preprocess.shape
        pedal.is_free = False
        computed.clear()
        asked = [
            asyncio.create_task(network.run(np.full((1, *shape), value, np.float32)))
            for value in range(100)
        ]
        refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        await asyncio.sleep(0)
        early = [task for task in asked if task.done()]
        pedal.release_all()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)

    busy = [outcome for outcome in outcomes if isinstance(outcome, EngineBusy)]
    assert refused
    assert len(early) == len(busy)
    assert len(outcomes) - len(busy) == len(computed) >= 8
