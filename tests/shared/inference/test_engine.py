"""Every request is answered exactly once, in its turn, or told why not."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from prometheus_client import REGISTRY

from shared.inference import (
    Engine,
    EngineBusy,
    EngineStopped,
    InferenceDeadline,
    Network,
    PackageRefused,
    load_package,
)
from shared.inference.callers import Callers
from shared.inference.devices import Device
from shared.inference.runtime import NetworkFailed
from shared.inference.warmup import BatchPlan
from tests.shared.inference.packages import SIDE_PX, PackageBuilder, mean_network


def picture(value: float) -> NDArray[np.float32]:
    """A batch of one, all of whose pixels have one value."""
    return np.full((1, 1, SIDE_PX, SIDE_PX), value, np.float32)


@dataclass
class GatedSession:
    """A session that waits at a gate, and answers which input it was given."""

    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seen: list[float] = field(default_factory=list)
    poison: float | None = None

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Answer with the first pixel, once the gate is open."""
        value = float(feeds["image"].flat[0])
        self.entered.release()
        self.open.wait(20)
        self.seen.append(value)
        if value == self.poison:
            raise NetworkFailed("the network failed")
        return {"logits": np.array([[value, -value]], np.float32)}

    async def until_entered(self) -> None:
        """Wait until one more request has reached the gate."""
        await asyncio.to_thread(self.entered.acquire)


Gated = Callable[..., Any]


@pytest.fixture
def loaded_package(package: PackageBuilder) -> Any:
    """A right package, verified."""
    return load_package(package.write())


@contextmanager
def gated(
    package: Any, callers: int = 1, limit: int = 4, deadline_s: float = 20.0, capacity: int = 1
) -> Iterator[tuple[Network, GatedSession, Callers]]:
    """A network whose session waits at a gate."""
    session = GatedSession()
    threads = Callers(callers, "test")
    network = Network(package, threads, deadline_s=deadline_s, waiting_limit=limit)
    network.open(session, BatchPlan(capacity=capacity))
    try:
        yield network, session, threads
    finally:
        session.open.set()
        threads.close(10)


def rejected(reason: str) -> float:
    """How many requests of the test's model were rejected for `reason`."""
    labels = {"model": "mean-brightness", "version": "1.0", "reason": reason}
    return REGISTRY.get_sample_value("vedette_inference_rejected_total", labels) or 0.0


async def test_a_network_answers_what_onnx_runtime_answers(
    cpu_engine: Engine, loaded_package: Any
) -> None:
    network = cpu_engine.load(loaded_package)

    outputs = await network.run(picture(0.25))

    np.testing.assert_allclose(outputs["logits"], [[0.25, -0.25]], atol=1e-6)
    np.testing.assert_allclose(network.run_now(picture(0.5))["logits"], [[0.5, -0.5]], atol=1e-6)


async def test_a_package_is_loaded_once(cpu_engine: Engine, loaded_package: Any) -> None:
    """One session per network per process."""
    assert cpu_engine.load(loaded_package) is cpu_engine.load(loaded_package)


async def test_an_unloaded_network_is_loaded_anew(cpu_engine: Engine, loaded_package: Any) -> None:
    network = cpu_engine.load(loaded_package)
    cpu_engine.unload(network)

    assert cpu_engine.load(loaded_package) is not network


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((1, 1, SIDE_PX, SIDE_PX), np.float64),
        np.zeros((1, SIDE_PX, SIDE_PX), np.float32),
        np.zeros((1, 3, SIDE_PX, SIDE_PX), np.float32),
    ],
)
async def test_a_tensor_of_another_shape_is_refused(
    cpu_engine: Engine, loaded_package: Any, tensor: NDArray[Any]
) -> None:
    with pytest.raises(ValueError, match="reads float32"):
        await cpu_engine.load(loaded_package).run(tensor)


async def test_a_full_queue_refuses_at_once(loaded_package: Any) -> None:
    """Beyond capacity, waiting only makes everybody late."""
    with gated(loaded_package, limit=2) as (network, session, _):
        running = asyncio.ensure_future(network.run(picture(1)))
        await session.until_entered()
        waiting = [asyncio.ensure_future(network.run(picture(value))) for value in (2, 3)]
        await asyncio.sleep(0)
        before = rejected("busy")

        with pytest.raises(EngineBusy) as busy:
            await network.run(picture(4))

        session.open.set()
        await asyncio.gather(running, *waiting)

    assert busy.value.status == 503
    assert int(busy.value.headers["Retry-After"]) >= 1
    assert rejected("busy") == before + 1
    assert session.seen == [1, 2, 3]


async def test_requests_run_in_the_order_of_their_arrival(loaded_package: Any) -> None:
    with gated(loaded_package, limit=10) as (network, session, _):
        runs = [asyncio.ensure_future(network.run(picture(value))) for value in range(8)]
        await session.until_entered()
        session.open.set()
        await asyncio.gather(*runs)

    assert session.seen == list(range(8))


async def test_a_cancelled_request_costs_nothing(loaded_package: Any) -> None:
    """A client that went away frees its place before anything is computed for it."""
    with gated(loaded_package, limit=1) as (network, session, threads):
        running = asyncio.ensure_future(network.run(picture(1)))
        await session.until_entered()
        gone = asyncio.ensure_future(network.run(picture(2)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        left = threads.waiting
        late = asyncio.ensure_future(network.run(picture(3)))
        await asyncio.sleep(0)
        session.open.set()
        await asyncio.gather(running, late)

    assert gone.cancelled()
    assert left == 0
    assert session.seen == [1, 3]


async def test_a_request_past_its_deadline_leaves_the_queue(loaded_package: Any) -> None:
    with gated(loaded_package) as (network, session, threads):
        running = asyncio.ensure_future(network.run(picture(1)))
        await session.until_entered()

        with pytest.raises(InferenceDeadline) as late:
            await network.run(picture(2), deadline_s=0.01)

        left = threads.waiting
        session.open.set()
        await running

    assert late.value.status == 504
    assert left == 0
    assert session.seen == [1]


async def test_a_run_past_its_deadline_is_answered_in_time(loaded_package: Any) -> None:
    """The caller is told when its time is up, not when the network is done."""
    with (
        gated(loaded_package, deadline_s=0.01) as (network, _, __),
        pytest.raises(InferenceDeadline),
    ):
        await network.run(picture(1))


async def test_a_failed_run_fails_its_own_request_only(loaded_package: Any) -> None:
    with gated(loaded_package) as (network, session, _):
        session.poison = 2
        session.open.set()
        outcomes = await asyncio.gather(
            *(network.run(picture(value)) for value in (1, 2, 3)), return_exceptions=True
        )

    assert [isinstance(outcome, NetworkFailed) for outcome in outcomes] == [False, True, False]


async def test_closing_answers_those_who_wait(loaded_package: Any) -> None:
    """A drain leaves nobody hanging: what runs ends, what waits is told."""
    with gated(loaded_package) as (network, session, threads):
        running = asyncio.ensure_future(network.run(picture(1)))
        await session.until_entered()
        waiting = asyncio.ensure_future(network.run(picture(2)))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(asyncio.to_thread(threads.close, 10))
        with pytest.raises(EngineStopped):
            await waiting
        with pytest.raises(EngineStopped):
            await network.run(picture(3))
        session.open.set()
        await closing
        outputs = await running

    assert float(outputs["logits"][0, 0]) == 1
    assert session.seen == [1]


async def test_a_closed_engine_loads_nothing(loaded_package: Any) -> None:
    engine = Engine("cpu", threads=1)
    network = engine.load(loaded_package)
    engine.close()

    with pytest.raises(EngineStopped):
        engine.load(loaded_package)
    with pytest.raises(EngineStopped):
        await network.run(picture(1))


async def test_a_closed_engine_leaves_no_thread(loaded_package: Any) -> None:
    before = threading.active_count()
    with Engine("cpu", threads=3) as engine:
        engine.load(loaded_package)
        during = threading.active_count()

    assert during == before + 3
    assert threading.active_count() == before


async def test_networks_share_the_threads(cpu_engine: Engine, tmp_path: Path) -> None:
    """However many networks a process holds, it computes on no more cores than it may."""
    first = load_package(PackageBuilder(tmp_path / "first").write())
    second = load_package(PackageBuilder(tmp_path / "second", changes={"id": "other"}).write())
    before = threading.active_count()

    networks = [cpu_engine.load(first), cpu_engine.load(second)]
    outputs = await asyncio.gather(*(network.run(picture(0.5)) for network in networks))

    assert threading.active_count() == before + 2
    assert [float(output["logits"][0, 0]) for output in outputs] == [0.5, 0.5]


async def test_a_vector_that_fails_on_the_device_stops_the_load(
    cpu_engine: Engine, loaded_package: Any
) -> None:
    """Warm-up is the test vectors: a device that answers otherwise never becomes ready."""
    (loaded_package.folder / "vectors" / "0.png").unlink()

    with pytest.raises(PackageRefused):
        cpu_engine.load(loaded_package)


async def test_auto_falls_back_to_the_processor(loaded_package: Any) -> None:
    """A driver without its libraries, or a GPU that vanished, must not stop the service."""
    with Engine("auto", threads=2) as engine:
        engine.device = Device("cuda", 63, callers=1, threads_per_run=1, why="the test says so")
        outputs = await engine.load(loaded_package).run(picture(0.5))

    assert engine.device.kind == "cpu"
    assert engine.device.callers == 2
    np.testing.assert_allclose(outputs["logits"], [[0.5, -0.5]], atol=1e-6)


async def test_queue_and_compute_time_are_measured(cpu_engine: Engine, loaded_package: Any) -> None:
    labels = {"model": "mean-brightness", "version": "1.0"}
    counts = [f"vedette_inference_{name}_seconds_count" for name in ("queue", "compute")]
    network = cpu_engine.load(loaded_package)
    before = [REGISTRY.get_sample_value(count, labels) or 0 for count in counts]

    await network.run(picture(0))

    after = [REGISTRY.get_sample_value(count, labels) or 0 for count in counts]
    assert [late - early for late, early in zip(after, before, strict=True)] == [1, 1]


async def test_a_loop_that_closed_early_harms_nobody(loaded_package: Any) -> None:
    """A worker whose waiter's event loop is gone goes on with the next request."""
    with gated(loaded_package) as (network, session, _):

        def leave_early() -> None:
            async def start() -> None:
                asyncio.ensure_future(network.run(picture(1)))  # noqa: RUF006
                await session.until_entered()

            asyncio.run(start())

        await asyncio.to_thread(leave_early)
        session.open.set()
        outputs = await network.run(picture(2))

    assert float(outputs["logits"][0, 0]) == 2


@dataclass(frozen=True)
class Move:
    """One request of the storm: what it does while it waits, and its time limit."""

    cancel_after_turns: int | None
    deadline_s: float
    poison: bool


moves = st.builds(
    Move,
    cancel_after_turns=st.none() | st.integers(0, 6),
    deadline_s=st.sampled_from([20.0, 20.0, 0.0005, 0.003]),
    poison=st.booleans(),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    storm=st.lists(moves, min_size=1, max_size=40),
    callers=st.integers(1, 3),
    limit=st.integers(1, 12),
    close_after=st.none() | st.integers(0, 30),
)
def test_every_request_is_answered_exactly_once(
    loaded_package: Any,
    storm: list[Move],
    callers: int,
    limit: int,
    close_after: int | None,
) -> None:
    """Under any mix of cancels, deadlines, failures, overload and closing."""
    asyncio.run(_storm(loaded_package, storm, callers, limit, close_after))


async def _storm(
    package: Any, storm: list[Move], callers: int, limit: int, close_after: int | None
) -> None:
    with gated(package, callers, limit) as (network, session, threads):
        session.open.set()
        session.poison = -1.0

        async def one(number: int, move: Move) -> str:
            value = -1.0 if move.poison else float(number)
            try:
                outputs = await network.run(picture(value), deadline_s=move.deadline_s)
            except (EngineBusy, EngineStopped, InferenceDeadline, NetworkFailed) as error:
                return type(error).__name__
            assert float(outputs["logits"][0, 0]) == value
            return "answered"

        tasks = []
        closing = None
        for number, move in enumerate(storm):
            task = asyncio.ensure_future(one(number, move))
            tasks.append(task)
            turns = move.cancel_after_turns
            if turns is not None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            if number == close_after:
                closing = asyncio.ensure_future(asyncio.to_thread(threads.close, 10))
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        if closing is not None:
            await closing

    kinds = {
        outcome if isinstance(outcome, str) else type(outcome).__name__ for outcome in outcomes
    }
    assert len(outcomes) == len(storm)
    assert kinds <= {
        "answered",
        "EngineBusy",
        "EngineStopped",
        "InferenceDeadline",
        "NetworkFailed",
        "CancelledError",
    }
    assert threads.waiting == 0
    computed = [value for value in session.seen if value >= 0]
    assert len(computed) == len(set(computed))


async def test_a_network_with_two_outputs_answers_both(cpu_engine: Engine, tmp_path: Path) -> None:
    """Feature maps come with the logits, by name."""
    model = mean_network([helper.make_node("Relu", ["image"], ["features"])])
    model.graph.output.append(
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 1, SIDE_PX, SIDE_PX])
    )
    builder = PackageBuilder(tmp_path / "two", model, {"explain": {"features": "features"}})

    outputs = await cpu_engine.load(load_package(builder.write())).run(picture(0.5))

    assert outputs["features"].shape == (1, 1, SIDE_PX, SIDE_PX)
    assert outputs["logits"].shape == (1, 2)
