"""Networks share a limit on memory: the longest unused one leaves, and comes back when asked."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from shared.inference import Engine, ModelPackage, OutOfMemory
from shared.inference.memory import Residents, resident_memory_bytes
from tests.shared.inference.sessions import TrickySessions, picture, version_of

MIB = 1 << 20


@dataclass(eq=False)
class StubNetwork:
    """Takes up what it is told to, and leaves unless it is at work."""

    name: str
    used_at: float
    at_work: bool = False
    resident_bytes: int = 0

    def leave_memory(self) -> bool:
        """Leave unless at work."""
        if self.at_work:
            return False
        self.resident_bytes = 0
        return True

    def count_resident(self, size_bytes: int) -> None:
        """Note the size."""
        self.resident_bytes = size_bytes


def test_the_longest_unused_network_leaves_first() -> None:
    residents = Residents(100, patience_s=0)
    old, recent = StubNetwork("old", 1.0), StubNetwork("recent", 2.0)
    for network in (recent, old):
        residents.enter(network, 40, 40)
    residents.make_room("new", 20)

    assert (old.resident_bytes, recent.resident_bytes) == (0, 40)


def test_a_network_at_work_does_not_leave() -> None:
    residents = Residents(100, patience_s=0)
    busy, idle = StubNetwork("busy", 1.0, at_work=True), StubNetwork("idle", 2.0)
    for network in (busy, idle):
        residents.enter(network, 40, 40)
    residents.make_room("new", 30)

    assert (busy.resident_bytes, idle.resident_bytes) == (40, 0)
    with pytest.raises(OutOfMemory) as refused:
        residents.make_room("larger", 40)
    assert refused.value.status == 503
    assert "Retry-After" in refused.value.headers


def test_what_was_measured_counts_more_than_what_was_guessed() -> None:
    """Weights are only part of what a network needs; the next load knows better."""
    residents = Residents(100, patience_s=0)
    network = StubNetwork("network", 1.0)
    residents.enter(network, 10, 70)
    residents.leave(network)
    other = StubNetwork("other", 2.0, at_work=True)
    residents.enter(other, 40, 40)

    with pytest.raises(OutOfMemory):
        residents.make_room("network", 10)


def test_a_network_that_grows_beyond_its_guess_makes_others_leave() -> None:
    residents = Residents(100, patience_s=0)
    first, second = StubNetwork("first", 1.0), StubNetwork("second", 2.0)
    residents.enter(first, 40, 40)
    residents.enter(second, 10, 80)

    assert (first.resident_bytes, second.resident_bytes) == (0, 80)
    assert residents.used_bytes == 80


def test_without_a_limit_nobody_leaves() -> None:
    residents = Residents(None)
    network = StubNetwork("network", 1.0)
    residents.enter(network, 1 << 40, 0)
    residents.make_room("another", 1 << 40)

    assert network.resident_bytes == 1 << 40


def test_the_process_knows_its_size() -> None:
    assert resident_memory_bytes() > 10 * MIB


def test_a_network_that_is_alone_is_let_in() -> None:
    """The limit says what networks share; one that is larger than it is a matter of the setting."""
    residents = Residents(100, patience_s=0)
    residents.make_room("large", 1000)
    large = StubNetwork("large", 1.0)
    residents.enter(large, 1000, 0)

    assert large.resident_bytes == 1000


def cramped(packages: list[ModelPackage], sessions: TrickySessions) -> Engine:
    """An engine with memory for one and a half of the packages."""
    size = max(package.network_bytes for package in packages)
    return Engine(
        "cpu",
        threads=2,
        open_session=sessions,
        memory_limit_bytes=size * 3 // 2,
        measure_memory=lambda: 0,
    )


@pytest.fixture
def packages(tmp_path: Path) -> list[ModelPackage]:
    """Two versions of a model."""
    return [version_of(tmp_path / str(gain), f"{gain}.0", gain) for gain in (1, 2)]


async def test_evicted_networks_answer_without_being_asked_to_load(
    packages: list[ModelPackage],
) -> None:
    """Two networks take turns in the room of one; who uses them does not notice."""
    with cramped(packages, TrickySessions()) as engine:
        first, second = (engine.load(package) for package in packages)
        in_memory = [(first.is_resident, second.is_resident)]
        answers = []
        for network in (first, second, first):
            outputs = await network.run(picture(0.5))
            answers.append(float(outputs["logits"][0, 0]))
            in_memory.append((first.is_resident, second.is_resident))

    assert answers == pytest.approx([0.5, 1.0, 0.5])
    assert in_memory == [(False, True), (True, False), (False, True), (True, False)]


async def test_many_who_ask_for_an_evicted_network_load_it_once(
    packages: list[ModelPackage],
) -> None:
    sessions = TrickySessions()
    with cramped(packages, sessions) as engine:
        first, _ = (engine.load(package) for package in packages)
        await asyncio.gather(*(first.run(picture(value)) for value in range(20)))

    assert len(sessions.opened) == 3


async def test_a_probe_wakes_a_network_too(packages: list[ModelPackage]) -> None:
    with cramped(packages, TrickySessions()) as engine:
        first, _ = (engine.load(package) for package in packages)
        outputs = await asyncio.to_thread(first.run_now, picture(0.5))

    assert float(outputs["logits"][0, 0]) == pytest.approx(0.5)


async def test_a_network_at_work_keeps_its_room(packages: list[ModelPackage]) -> None:
    """Nobody's run is disturbed for another network; that one is told to come back."""
    sessions = TrickySessions()
    with cramped(packages, sessions) as engine:
        first, second = (engine.load(package) for package in packages)
        session = sessions.opened[1]
        session.forget_entries()
        session.gate.clear()
        running = asyncio.ensure_future(second.run(picture(0.5)))
        await asyncio.to_thread(session.entered.acquire)
        with pytest.raises(OutOfMemory):
            await first.run(picture(0.5))
        session.gate.set()
        outputs = await running

    assert float(outputs["logits"][0, 0]) == pytest.approx(1.0)


async def test_the_size_of_a_network_is_a_metric(packages: list[ModelPackage]) -> None:
    def resident(version: str) -> float | None:
        labels = {"model": "gained", "version": version}
        return REGISTRY.get_sample_value("vedette_inference_resident_bytes", labels)

    with cramped(packages, TrickySessions()) as engine:
        for package in packages:
            engine.load(package)
        sizes = resident("1.0"), resident("2.0")

    assert sizes == (0, packages[1].network_bytes)
