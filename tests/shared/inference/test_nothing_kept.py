"""Pictures and networks that nobody needs are gone at once, not when the collector comes.

A service lets the collector come rarely: what waits for it would be most of its memory.
"""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.imaging import UnreadableImage
from shared.inference import Engine, EngineBusy, InferenceDeadline, Network
from shared.inference.warmup import BatchPlan
from tests.holding import eventually
from tests.shared.inference.sessions import TrickySessions, picture, version_of


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Nothing is collected that a reference counter does not free."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def come_true(claim: Callable[[], bool]) -> None:
    """Fail unless the claim comes true, once the engine's threads have let go."""
    assert await asyncio.to_thread(eventually, claim, within_s=10)


def watched(value: float, count: int = 1) -> tuple[NDArray[np.float32], "weakref.ref[object]"]:
    """Pictures, and what knows whether they are still there."""
    tensor = picture(value, count)
    return tensor, weakref.ref(tensor)


@pytest.mark.parametrize("count", [1, 5])
async def test_an_answered_picture_is_gone(tmp_path: Path, count: int) -> None:
    with Engine("cpu", threads=1) as engine:
        network = engine.load(version_of(tmp_path, "1.0", 1))
        tensor, known = watched(1.0, count)
        await network.run(tensor)
        del tensor

        await come_true(lambda: known() is None)


async def test_a_prepared_picture_is_gone(tmp_path: Path) -> None:
    made: list[weakref.ref[object]] = []

    def prepare() -> NDArray[np.float32]:
        tensor, known = watched(1.0)
        made.append(known)
        return tensor

    with Engine("cpu", threads=1) as engine:
        network = engine.load(version_of(tmp_path, "1.0", 1))
        for aside in (None, asyncio.to_thread):
            await network.prepare_and_run(prepare, aside=aside)

        await come_true(lambda: all(known() is None for known in made))
    assert len(made) == 2


async def test_a_file_that_cannot_be_read_is_gone(tmp_path: Path) -> None:
    """Anybody can send many of them."""
    made: list[weakref.ref[object]] = []

    def prepare() -> NDArray[np.float32]:
        file, known = watched(1.0)
        made.append(known)
        try:
            raise OSError(file.shape)
        except OSError as error:
            raise UnreadableImage("The picture is damaged.") from error

    with Engine("cpu", threads=1) as engine:
        network = engine.load(version_of(tmp_path, "1.0", 1))
        for plan in (BatchPlan(1, prepares=True), BatchPlan(1), BatchPlan(1, is_brief=True)):
            network.plan = plan
            for aside in (None, asyncio.to_thread):
                with pytest.raises(UnreadableImage, match="damaged"):
                    await network.prepare_and_run(prepare, aside=aside)

        await come_true(lambda: all(known() is None for known in made))
    assert len(made) == 6


async def test_a_picture_that_was_late_or_given_up_or_refused_is_gone(tmp_path: Path) -> None:
    sessions = TrickySessions()
    with Engine("cpu", threads=1, waiting_limit=2, open_session=sessions) as engine:
        network = engine.load(version_of(tmp_path, "1.0", 1))
        session = sessions.opened[0]
        session.forget_entries()
        session.gate.clear()
        running = asyncio.create_task(network.run(picture(0.0)))
        await asyncio.to_thread(session.entered.acquire)
        tensor, late = watched(1.0)
        with pytest.raises(InferenceDeadline):
            await network.run(tensor, deadline_s=0.01)
        tensor, given_up = watched(2.0)
        asking = asyncio.create_task(network.run(tensor))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        queue = [asyncio.create_task(network.run(picture(3.0))) for _ in range(2)]
        await asyncio.sleep(0)
        tensor, refused = watched(4.0)
        with pytest.raises(EngineBusy):
            await network.run(tensor)
        del tensor, asking
        session.gate.set()
        await asyncio.gather(running, *queue)

        await come_true(lambda: all(known() is None for known in (late, given_up, refused)))


async def test_a_version_that_was_replaced_is_gone(tmp_path: Path) -> None:
    """An hour of replacing must not fill the memory."""
    with Engine("cpu", threads=2) as engine:
        engine.serve("reader", version_of(tmp_path / "1", "1.0", 1))
        second = version_of(tmp_path / "2", "2.0", 2)
        known: weakref.ref[Network] = weakref.ref(engine.networks[0])
        await engine.replace("reader", second)

        await come_true(lambda: known() is None)
