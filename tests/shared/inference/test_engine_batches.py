"""Requests that meet in a batch get their own answers, and only their own failures."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from shared.inference import Engine, EngineBusy, ModelPackage, Network, Priority
from shared.inference.batching import MAX_PASSED_OVER
from shared.inference.callers import Callers
from shared.inference.devices import Device
from shared.inference.runtime import NetworkFailed
from shared.inference.warmup import BatchPlan
from tests.shared.inference.sessions import (
    POISON,
    TrickySession,
    TrickySessions,
    picture,
    version_of,
)

#: A device without a processor's reasons to run pictures one by one.
ACCELERATOR = Device("simulated", 0, callers=1, threads_per_run=1, why="the test says so")


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """Logits are the picture and its negative."""
    return version_of(tmp_path / "package", "1.0", 1)


@contextmanager
def batching(
    package: ModelPackage, capacity: int = 4, callers: int = 1, waiting_limit: int = 64
) -> Iterator[tuple[Network, TrickySession]]:
    """A network whose first run waits at a gate, so that a queue builds up."""
    session = TrickySession(package.read_network())
    session.gate.clear()
    threads = Callers(callers, "test")
    network = Network(package, threads, deadline_s=20.0, waiting_limit=waiting_limit)
    network.open(session, BatchPlan(capacity))
    try:
        yield network, session
    finally:
        session.gate.set()
        threads.close(10)


async def first_logit(network: Network, value: float, priority: Priority) -> float:
    """The first logit of a picture of this value."""
    outputs = await network.run(picture(value), priority=priority)
    assert outputs["logits"].shape == (1, 2)
    return float(outputs["logits"][0, 0])


async def queued(
    network: Network, values: list[float], priority: Priority = Priority.INTERACTIVE
) -> "list[asyncio.Task[float]]":
    """Requests that have entered the queue."""
    tasks = [asyncio.create_task(first_logit(network, value, priority)) for value in values]
    await asyncio.sleep(0)
    return tasks


@contextmanager
def in_loop(package: ModelPackage, capacity: int = 4) -> Iterator[tuple[Network, TrickySession]]:
    """A network that the event loop runs, beside one thread for what nobody waits for."""
    session = TrickySession(package.read_network(), run_s=0.0)
    threads = Callers(1, "test")
    network = Network(package, threads, deadline_s=20.0, waiting_limit=64)
    network.open(session, BatchPlan(capacity, is_brief=True))
    try:
        yield network, session
    finally:
        session.gate.set()
        threads.close(10)


async def test_what_arrives_in_a_turn_of_the_event_loop_is_run_by_it_together(
    package: ModelPackage,
) -> None:
    with in_loop(package) as (network, session):
        answers = await asyncio.gather(
            *await queued(network, [float(value) for value in range(10)])
        )

    assert answers == [float(value) for value in range(10)]
    assert session.sizes == [4, 4, 2]
    assert set(session.threads) == {threading.current_thread().name}


async def test_a_request_of_many_pictures_lets_the_event_loop_turn_between_its_runs(
    package: ModelPackage,
) -> None:
    turns = 0
    with in_loop(package, capacity=2) as (network, session):
        asked = asyncio.create_task(network.run(picture(1.0, 20)))
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1

    assert session.sizes == [2] * 10
    assert turns >= 10


async def test_a_failure_in_the_event_loop_is_one_pictures_own(package: ModelPackage) -> None:
    with in_loop(package) as (network, _):
        asked = await queued(network, [1.0, POISON, 3.0])
        good, bad, other = await asyncio.gather(*asked, return_exceptions=True)

    assert (good, other) == (1.0, 3.0)
    assert isinstance(bad, NetworkFailed)


async def test_what_nobody_waits_for_is_a_threads_even_of_a_brief_network(
    package: ModelPackage,
) -> None:
    with in_loop(package) as (network, session):
        await asyncio.gather(*await queued(network, [1.0, 2.0], Priority.BATCH))

    assert set(session.threads) == {"test-0"}


async def test_a_cancelled_request_costs_the_event_loop_nothing(package: ModelPackage) -> None:
    with in_loop(package, capacity=1) as (network, session):
        *kept, given_up = await queued(network, [1.0, 2.0, 3.0])
        given_up.cancel()
        assert await asyncio.gather(*kept) == [1.0, 2.0]

    assert session.sizes == [1, 1]


async def test_the_event_loop_too_runs_no_more_at_once_than_it_may(package: ModelPackage) -> None:
    """What waits for its turn has it when the run that was in its way ends."""
    with in_loop(package) as (network, session):
        network.limit_runs(1)
        session.gate.clear()
        session.forget_entries()
        [slow] = await queued(network, [1.0], Priority.BATCH)
        await asyncio.to_thread(session.entered.acquire)
        [asked] = await queued(network, [2.0])
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done()
        session.gate.set()
        assert await asked == 2.0
        assert await slow == 1.0


@pytest.mark.parametrize("capacity", [1, 2])
async def test_a_crowd_is_answered_where_one_may_run_at_a_time(
    package: ModelPackage, capacity: int
) -> None:
    """Each run's end has to begin the next one, also when nobody is staged yet."""
    with in_loop(package, capacity) as (network, _):
        network.limit_runs(1)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*await queued(network, [1.0, 2.0, 3.0, 4.0, 5.0]))

    assert answers == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_event_loop_that_ended_keeps_nobody_waiting_on_the_next(package: ModelPackage) -> None:
    async def ask_and_end() -> None:
        asyncio.create_task(network.run(picture(1.0)))  # noqa: RUF006
        await asyncio.sleep(0)

    with in_loop(package) as (network, _):
        asyncio.run(ask_and_end())
        assert asyncio.run(first_logit(network, 2.0, Priority.INTERACTIVE)) == 2.0


async def test_what_waits_runs_together(package: ModelPackage) -> None:
    with batching(package) as (network, session):
        first = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        rest = await queued(network, [float(value) for value in range(1, 11)])
        session.gate.set()
        answers = await asyncio.gather(*first, *rest)

    assert answers == [float(value) for value in range(11)]
    assert session.sizes == [1, 4, 4, 2]


async def test_a_poisoned_picture_fails_alone(package: ModelPackage) -> None:
    """A batch is the engine's idea, so nobody may suffer from who else is in it."""
    with batching(package) as (network, session):
        first = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        rest = await queued(network, [1.0, POISON, 3.0])
        session.gate.set()
        answers = await asyncio.gather(*first, *rest, return_exceptions=True)

    assert [answers[0], answers[1], answers[3]] == [0.0, 1.0, 3.0]
    assert isinstance(answers[2], NetworkFailed)


async def test_many_pictures_of_one_request_are_answered_in_order(package: ModelPackage) -> None:
    """A request may be larger than a batch, and may share one."""
    tensor = np.concatenate([picture(float(value)) for value in range(11)])
    with batching(package) as (network, session):
        session.gate.set()
        outputs, other = await asyncio.gather(network.run(tensor), network.run(picture(-1.0)))

    np.testing.assert_allclose(outputs["logits"][:, 0], np.arange(11), atol=1e-5)
    np.testing.assert_allclose(other["logits"], [[-1.0, 1.0]], atol=1e-6)
    assert max(session.sizes) <= 4


async def test_a_request_of_many_pictures_fails_as_one(package: ModelPackage) -> None:
    tensor = np.concatenate([picture(value) for value in (1.0, POISON, 2.0, 3.0, 4.0, 5.0, 6.0)])
    with batching(package, capacity=1) as (network, session):
        session.gate.set()
        with pytest.raises(NetworkFailed):
            await network.run(tensor)
        assert network.lane.waiting == 0


async def test_interactive_requests_overtake_batch_traffic(package: ModelPackage) -> None:
    order: list[float] = []
    with batching(package, capacity=1) as (network, session):
        first = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        background = await queued(network, [1.0, 2.0], Priority.BATCH)
        urgent = await queued(network, [3.0, 4.0])
        for task in (*background, *urgent):
            task.add_done_callback(lambda done: order.append(done.result()))
        session.gate.set()
        await asyncio.gather(*first, *background, *urgent)

    assert order == [3.0, 4.0, 1.0, 2.0]


async def test_a_request_that_cannot_be_in_time_is_refused_at_once(package: ModelPackage) -> None:
    """Whoever would wait in vain is told now, while there is time to go elsewhere."""
    with batching(package, capacity=1) as (network, session):
        network.lane.usual_run_s = 10.0
        running = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        waiting = await queued(network, [1.0])
        with pytest.raises(EngineBusy) as busy:
            await network.run(picture(2.0), deadline_s=5.0)
        session.gate.set()
        await asyncio.gather(*running, *waiting)

    assert int(busy.value.headers["Retry-After"]) == 20


async def test_a_request_without_time_is_refused_before_its_picture_is_prepared(
    package: ModelPackage,
) -> None:
    """Decoding what cannot be answered in time takes the cores from what can."""
    with batching(package, capacity=1) as (network, session):
        network.lane.usual_run_s = 1.0
        running = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        network.require_time(deadline_s=0.5)
        network.require_time(deadline_s=5.1, preparing=2)
        with pytest.raises(EngineBusy):
            network.require_time(deadline_s=4.9, preparing=2)
        session.gate.set()
        await asyncio.gather(*running)


async def test_a_busy_network_does_not_starve_the_batch_traffic_of_another(
    package: ModelPackage, tmp_path: Path
) -> None:
    """Networks share the callers, and each gets a turn."""
    order: list[str] = []
    with batching(package, capacity=1) as (busy, session):
        quiet = Network(
            version_of(tmp_path / "quiet", "1.0", 1, "quiet"), busy._callers, waiting_limit=64
        )
        quiet.open(session, BatchPlan(1))
        first = await queued(busy, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        background = await queued(quiet, [1.0], Priority.BATCH)
        urgent = await queued(busy, [float(value) for value in range(2 * MAX_PASSED_OVER)])
        for task in background:
            task.add_done_callback(lambda _: order.append("quiet"))
        for task in urgent:
            task.add_done_callback(lambda _: order.append("busy"))
        session.gate.set()
        await asyncio.gather(*first, *background, *urgent)

    assert order.index("quiet") == MAX_PASSED_OVER


async def test_several_event_loops_share_a_batch(package: ModelPackage) -> None:
    """Each waiter is woken on its own loop."""

    def elsewhere() -> list[float]:
        async def ask() -> list[float]:
            return await asyncio.gather(*(await queued(network, [5.0, 6.0])))

        return asyncio.run(ask())

    with batching(package) as (network, session):
        first = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        here = await queued(network, [1.0, 2.0])
        there = asyncio.create_task(asyncio.to_thread(elsewhere))
        await asyncio.to_thread(wait_for_queue, network, 4)
        session.gate.set()
        answers = await asyncio.gather(*first, *here), await there

    assert answers == ([0.0, 1.0, 2.0], [5.0, 6.0])
    assert session.sizes == [1, 4]


def wait_for_queue(network: Network, length: int) -> None:
    """Wait until so many pictures are in the queue."""
    while network.lane.waiting < length:
        pass


async def test_a_large_request_keeps_every_caller_busy(package: ModelPackage) -> None:
    """Two callers begin two runs, though there was only one request."""
    with batching(package, capacity=1, callers=2) as (network, session):
        asking = asyncio.create_task(network.run(picture(1.0, 4)))
        for _ in range(2):
            await asyncio.to_thread(session.entered.acquire)
        session.gate.set()
        outputs = await asking

    assert outputs["logits"].shape == (4, 2)


async def test_the_size_of_batches_is_measured(package: ModelPackage) -> None:
    def samples() -> list[float]:
        labels = {"model": "gained", "version": "1.0"}
        names = ("batch_pictures_sum", "batch_pictures_count", "queue_seconds_count")
        return [
            REGISTRY.get_sample_value(f"vedette_inference_{name}", labels) or 0 for name in names
        ]

    before = samples()
    with batching(package) as (network, session):
        first = await queued(network, [0.0])
        await asyncio.to_thread(session.entered.acquire)
        rest = await queued(network, [1.0, 2.0, 3.0])
        waiting = REGISTRY.get_sample_value(
            "vedette_inference_waiting", {"model": "gained", "version": "1.0"}
        )
        session.gate.set()
        await asyncio.gather(*first, *rest)

    assert waiting == 3
    assert [late - early for late, early in zip(samples(), before, strict=True)] == [4, 2, 4]


async def test_a_device_is_warmed_for_every_size_of_batch(package: ModelPackage) -> None:
    """A GPU plans each size when it first sees it, and no request should wait for that."""
    sessions = TrickySessions()
    with Engine("cpu", open_session=sessions) as engine:
        engine.device = ACCELERATOR
        network = engine.load(package)
        warmed = set(sessions.opened[0].sizes)
        sessions.opened[0].sizes.clear()
        await asyncio.gather(*(network.run(picture(float(value))) for value in range(50)))

    assert warmed == {1, 2, 4, 8, 16, 32}
    assert set(sessions.opened[0].sizes) <= warmed
