"""Pictures are prepared where it is cheapest, and never for a request that cannot be answered."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from shared.imaging import (
    DecodePool,
    ImageTooLarge,
    Limits,
    Picture,
    ThreadDecoder,
    UnreadableImage,
    UnsupportedImage,
    decode,
)
from shared.imaging.quick import is_quick
from shared.inference import (
    Engine,
    EngineBusy,
    EngineStopped,
    InferenceDeadline,
    ModelPackage,
    Network,
    Priority,
    read_picture,
)
from shared.inference.callers import Callers
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from shared.inference.warmup import BatchPlan
from tests.shared.imaging.builders import encoded, gradient
from tests.shared.inference.sessions import (
    POISON,
    TrickySession,
    TrickySessions,
    picture,
    version_of,
)

#: What the engine's threads prepare, what others prepare, and what the event loop does whole.
PLANS = {
    "one thread": BatchPlan(1, prepares=True),
    "two threads": BatchPlan(1),
    "batches": BatchPlan(4),
    "event loop": BatchPlan(4, is_brief=True),
}
FILES = {
    "JPEG": encoded(gradient(), "JPEG"),
    "PNG": encoded(gradient(), "PNG"),
    "TIFF": encoded(gradient(), "TIFF"),
    "BMP": encoded(gradient(), "BMP"),
    "large JPEG": encoded(gradient(300, 400), "JPEG"),
}


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """Logits are the mean of the picture and its negative."""
    return version_of(tmp_path / "package", "1.0", 1, "read")


@contextmanager
def serving(
    package: ModelPackage, plan: BatchPlan, **settings: Any
) -> Iterator[tuple[Network, TrickySession]]:
    """A network with one caller, whose runs end as long as the gate is open."""
    session = TrickySession(package.read_network())
    threads = Callers(1, "test")
    network = Network(package, threads, deadline_s=20.0, **settings)
    network.open(session, plan)
    try:
        yield network, session
    finally:
        session.gate.set()
        threads.close(10)


@asynccontextmanager
async def occupied(
    network: Network, session: TrickySession, priority: Priority = Priority.INTERACTIVE
) -> AsyncIterator[None]:
    """The caller is busy with a run until the end of the block."""
    session.gate.clear()
    session.forget_entries()
    running = asyncio.create_task(network.run(picture(0.0), priority=priority))
    await asyncio.to_thread(session.entered.acquire)
    try:
        yield
    finally:
        session.gate.set()
        await running


def rejects(reason: str) -> float:
    """How many requests of the network were refused for this reason."""
    labels = {"model": "read", "version": "1.0", "reason": reason}
    return REGISTRY.get_sample_value("vedette_inference_rejected_total", labels) or 0


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("plan", PLANS)
async def test_an_answer_does_not_depend_on_where_a_picture_is_prepared(
    package: ModelPackage, plan: str, file: str
) -> None:
    pixels = decode(FILES[file], target_px=package.preprocess.target_px).pixels
    tensor = package.preprocess(pixels)[np.newaxis]
    expected = Session(package.read_network(), [(CPU_PROVIDER, {})], 1).run({"image": tensor})

    async with DecodePool(1) as decoder:
        with serving(package, PLANS[plan]) as (network, _):
            outputs = await read_picture(network, FILES[file], decoder)
            custom = await read_picture(
                network,
                FILES[file],
                decoder,
                prepare=lambda found: package.preprocess(found.pixels)[np.newaxis],
                target_px=package.preprocess.target_px,
            )

    np.testing.assert_array_equal(outputs["logits"], expected["logits"])
    np.testing.assert_array_equal(custom["logits"], expected["logits"])


@pytest.mark.parametrize(
    ("plan", "file", "thread"),
    [
        ("one thread", "JPEG", "test-0"),
        ("one thread", "large JPEG", "test-0"),
        ("two threads", "large JPEG", "AnyIO worker thread"),
        ("event loop", "large JPEG", "AnyIO worker thread"),
    ],
)
async def test_a_picture_is_prepared_by_the_thread_that_suits_the_network(
    package: ModelPackage, plan: str, file: str, thread: str
) -> None:
    seen: list[str] = []

    def prepare(found: Picture) -> NDArray[np.float32]:
        seen.append(threading.current_thread().name)
        return package.preprocess(found.pixels)[np.newaxis]

    with serving(package, PLANS[plan]) as (network, _):
        await read_picture(network, FILES[file], ThreadDecoder(1), prepare=prepare)

    assert seen == [thread]


async def test_a_small_picture_for_a_brief_network_never_leaves_the_event_loop(
    package: ModelPackage,
) -> None:
    seen: list[str] = []

    def prepare(found: Picture) -> NDArray[np.float32]:
        seen.append(threading.current_thread().name)
        return package.preprocess(found.pixels)[np.newaxis]

    with serving(package, PLANS["event loop"]) as (network, session):
        await read_picture(network, FILES["PNG"], ThreadDecoder(1))
        await network.prepare_and_run(lambda: prepare(decode(FILES["PNG"])), aside=None)

    here = threading.current_thread().name
    assert seen == [here]
    assert session.threads == [here] * 2


async def test_batch_traffic_never_holds_the_event_loop(package: ModelPackage) -> None:
    with serving(package, PLANS["event loop"]) as (network, session):
        async with occupied(network, session, Priority.BATCH):
            asked = asyncio.create_task(
                read_picture(network, FILES["PNG"], ThreadDecoder(1), priority=Priority.BATCH)
            )
            await asyncio.sleep(0)
            assert network.lane.waiting == 1
        await asked


@pytest.mark.parametrize("plan", ["one thread", "two threads", "batches"])
async def test_what_is_refused_has_not_been_prepared(package: ModelPackage, plan: str) -> None:
    """Decoding what cannot be answered in time takes the cores from what can."""
    prepared: list[bool] = []

    def prepare(_: Picture) -> NDArray[np.float32]:
        prepared.append(True)
        return picture(1.0)

    with serving(package, PLANS[plan]) as (network, session):
        async with occupied(network, session):
            network.lane.usual_run_s = 1.0
            queue = [asyncio.create_task(network.run(picture(1.0))) for _ in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(EngineBusy):
                await read_picture(
                    network, FILES["PNG"], ThreadDecoder(1), prepare=prepare, deadline_s=2.0
                )
        await asyncio.gather(*queue)

    assert prepared == []


async def test_pictures_that_are_being_prepared_count_as_ahead(package: ModelPackage) -> None:
    """They will be in the queue by the time that this one is prepared."""
    with serving(package, PLANS["two threads"]) as (network, _):
        network.lane.usual_run_s = 1.0
        with network.preparing(), network.preparing():
            network.require_time(deadline_s=5.1)
            with pytest.raises(EngineBusy):
                network.require_time(deadline_s=4.9)
        network.require_time(deadline_s=4.9)


async def test_the_time_of_preparing_is_part_of_the_answers(package: ModelPackage) -> None:
    with serving(package, PLANS["two threads"]) as (network, _):
        network.lane.usual_run_s = 1.0
        network.lane.usual_prepare_s = 2.0
        with network.preparing():
            # Two runs and the one that may go on; its own preparation after another's.
            network.require_time(deadline_s=(3 + 4) / 0.8 + 0.1)
            with pytest.raises(EngineBusy):
                network.require_time(deadline_s=(3 + 4) / 0.8 - 0.1)


@pytest.mark.parametrize("plan", PLANS)
async def test_a_picture_that_cannot_be_read_is_no_failure_of_the_network(
    package: ModelPackage, plan: str
) -> None:
    before = {reason: rejects(reason) for reason in ("failed", "busy", "unreadable-image")}
    with serving(package, PLANS[plan]) as (network, session):
        network.lane.usual_run_s = 7.0
        with pytest.raises(UnreadableImage):
            await read_picture(network, FILES["JPEG"][:-200], ThreadDecoder(1))
        with pytest.raises(UnsupportedImage):
            await read_picture(network, b"no picture", ThreadDecoder(1))
        assert network.lane.usual_run_s == 7.0, "a quick failure must not promise a quick answer"
        outputs = await read_picture(network, FILES["JPEG"], ThreadDecoder(1))

    assert outputs["logits"].shape == (1, 2)
    assert session.sizes == [1]
    assert {reason: rejects(reason) for reason in before} == before


async def test_limits_are_checked_before_a_picture_waits(package: ModelPackage) -> None:
    with serving(package, PLANS["one thread"]) as (network, session):
        async with occupied(network, session):
            with pytest.raises(ImageTooLarge):
                await read_picture(network, FILES["PNG"], ThreadDecoder(1, Limits(max_bytes=10)))
            with pytest.raises(UnreadableImage):
                await read_picture(network, b"", ThreadDecoder(1))


async def test_a_cancelled_request_is_not_prepared(package: ModelPackage) -> None:
    prepared: list[bool] = []

    def prepare() -> NDArray[np.float32]:
        prepared.append(True)
        return picture(1.0)

    with serving(package, PLANS["one thread"]) as (network, session):
        async with occupied(network, session):
            asked = asyncio.create_task(network.prepare_and_run(prepare, aside=None))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait((asked,))
        assert asked.cancelled()

    assert prepared == []
    assert session.sizes == [1]


async def test_what_is_late_when_it_is_prepared_is_not_computed(package: ModelPackage) -> None:
    """The answer would be for nobody."""
    is_given_up = threading.Event()

    def prepare() -> NDArray[np.float32]:
        is_given_up.wait(20)
        return picture(1.0)

    with serving(package, PLANS["one thread"]) as (network, session):
        with pytest.raises(InferenceDeadline):
            await network.prepare_and_run(prepare, aside=None, deadline_s=0.01)
        is_given_up.set()
        await network.run(picture(2.0))

    assert session.sizes == [1]


async def test_the_deadline_holds_for_preparation_and_run_together(package: ModelPackage) -> None:
    """What is left of it when the picture is prepared is the run's; here nothing is."""
    with serving(package, PLANS["two threads"]) as (network, session):
        async with occupied(network, session):
            with pytest.raises((InferenceDeadline, EngineBusy)):
                await network.prepare_and_run(
                    lambda: picture(1.0), aside=asyncio.to_thread, deadline_s=0.0
                )

    assert session.sizes == [1]


@pytest.mark.parametrize("plan", PLANS)
async def test_a_failure_of_the_network_reaches_who_asked(package: ModelPackage, plan: str) -> None:
    before = rejects("failed")
    with serving(package, PLANS[plan]) as (network, _), pytest.raises(NetworkFailed):
        await network.prepare_and_run(lambda: picture(POISON), aside=None)

    assert rejects("failed") == before + 1


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "wrong", [picture(1.0, 2), picture(1.0)[0], picture(1.0).astype(np.float64)]
)
async def test_what_the_network_does_not_read_is_not_run(
    package: ModelPackage, plan: str, wrong: NDArray[Any]
) -> None:
    expected = pytest.raises(ValueError, match=r"float32|one picture")
    with serving(package, PLANS[plan]) as (network, session), expected:
        await network.prepare_and_run(lambda: wrong, aside=None)

    assert session.sizes == []


@pytest.mark.parametrize("plan", PLANS)
async def test_a_closed_engine_reads_nothing(package: ModelPackage, plan: str) -> None:
    with serving(package, PLANS[plan]) as (network, _):
        network._callers.close(10)
        with pytest.raises(EngineStopped):
            await network.prepare_and_run(lambda: picture(1.0), aside=None)


async def test_a_network_that_left_memory_comes_back_for_a_picture(tmp_path: Path) -> None:
    package = version_of(tmp_path / "package", "1.0", 1, "read")
    with Engine("cpu", threads=1, open_session=TrickySessions()) as engine:
        network = engine.load(package)
        assert network.leave_memory()
        outputs = await read_picture(network, FILES["PNG"], ThreadDecoder(1))

    assert outputs["logits"].shape == (1, 2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(gradient(128, 128), "PNG"), True),
        (encoded(gradient(128, 129), "PNG"), False),
        (encoded(gradient(128, 128), "JPEG"), True),
        (encoded(gradient(129, 128), "JPEG"), False),
        (encoded(gradient(32, 32), "JPEG") + bytes(30_000), False),
        (encoded(gradient(32, 32), "JPEG") + b"\xff\xda" * 20, False),
        (encoded(gradient(32, 32), "TIFF"), False),
        (encoded(gradient(32, 32), "GIF"), False),
        (b"\xff\xd8\xff\xe0", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"", False),
        (b"no picture", False),
    ],
)
def test_only_small_harmless_pictures_are_decoded_in_the_event_loop(
    data: bytes, expected: bool
) -> None:
    """Everybody waits for what is decoded there."""
    assert is_quick(data) is expected
