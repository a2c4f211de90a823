"""A version is replaced while it serves: nobody is refused, and no answer mixes two versions."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.inference import (
    Engine,
    EngineStopped,
    InferenceDeadline,
    ModelPackage,
    PackageRefused,
)
from shared.inference.network import Network
from tests.shared.inference.sessions import TrickySessions, picture, version_of


@pytest.fixture
def versions(tmp_path: Path) -> list[ModelPackage]:
    """Three versions of one model, whose answers are 1, 2 and 3 times the picture."""
    return [version_of(tmp_path / str(gain), f"{gain}.0", gain) for gain in (1, 2, 3)]


@pytest.fixture
def sessions() -> TrickySessions:
    """What the engine has opened."""
    return TrickySessions()


@pytest.fixture
def engine(sessions: TrickySessions) -> Iterator[Engine]:
    """Two callers on the processor, through tricky sessions."""
    with Engine("cpu", threads=2, open_session=sessions) as engine:
        yield engine


async def first_logit(network: Network, value: float) -> float:
    """The first logit of a picture of this value."""
    outputs = await network.run(picture(value))
    return float(outputs["logits"][0, 0])


async def test_a_name_answers_with_the_new_version_after_a_swap(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    served = engine.serve("reader", versions[0])
    before = await served.run(picture(0.5))
    await engine.replace("reader", versions[1])
    after = await served.run(picture(0.5))

    assert float(before["logits"][0, 0]) == pytest.approx(0.5)
    assert float(after["logits"][0, 0]) == pytest.approx(1.0)
    assert served.network.name == "gained@2.0"


async def test_the_old_version_leaves_memory(engine: Engine, versions: list[ModelPackage]) -> None:
    served = engine.serve("reader", versions[0])
    old = served.network
    await engine.replace("reader", versions[1])

    assert not old.is_resident
    assert engine.networks == (served.network,)


async def test_the_old_version_finishes_what_it_has(
    engine: Engine, sessions: TrickySessions, versions: list[ModelPackage]
) -> None:
    """A request is answered by the version that took it, and only then does that one leave."""
    served = engine.serve("reader", versions[0])
    old, session = served.network, sessions.opened[0]
    session.gate.clear()
    session.forget_entries()
    running = asyncio.ensure_future(served.run(picture(0.5)))
    await asyncio.to_thread(session.entered.acquire)
    await engine.replace("reader", versions[1], drain_s=None)
    answered_by_new = await served.run(picture(0.5))
    still_there = old.is_resident
    session.gate.set()
    answered_by_old = await running

    assert still_there
    assert float(answered_by_old["logits"][0, 0]) == pytest.approx(0.5)
    assert float(answered_by_new["logits"][0, 0]) == pytest.approx(1.0)


async def test_a_version_stays_for_one_who_is_about_to_run_it(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    """Preprocessing, run and interpretation of one request see one version."""
    served = engine.serve("reader", versions[0])
    with served.use() as network:
        await engine.replace("reader", versions[1], drain_s=None)
        held = network.is_resident
        logit = await first_logit(network, 0.5)

    assert held
    assert logit == pytest.approx(0.5)


async def test_a_straggler_is_answered_by_the_version_it_holds(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    """Whoever kept a replaced network gets its answer, though that costs a load."""
    served = engine.serve("reader", versions[0])
    old = served.network
    await engine.replace("reader", versions[1])

    assert await first_logit(old, 0.5) == pytest.approx(0.5)


async def test_a_bad_version_changes_nothing(engine: Engine, versions: list[ModelPackage]) -> None:
    served = engine.serve("reader", versions[0])
    (versions[1].folder / "model.onnx").write_bytes(b"something else")

    with pytest.raises(PackageRefused):
        await engine.replace("reader", versions[1])

    assert await first_logit(served.network, 0.5) == pytest.approx(0.5)
    assert engine.networks == (served.network,)


async def test_a_version_that_another_name_serves_stays(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    engine.serve("reader", versions[0])
    other = engine.serve("archive", versions[0])
    await engine.replace("reader", versions[1])

    assert other.network.is_resident
    assert engine.find_network("gained", "1.0") is other.network
    assert engine.find_network("gained", "2.0") is not None
    assert engine.find_network("gained", "3.0") is None


async def test_replacing_a_version_with_itself_does_nothing(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    served = engine.serve("reader", versions[0])

    assert await engine.replace("reader", versions[0]) is served.network
    assert served.network.is_resident


async def test_an_unknown_name_cannot_be_replaced(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    with pytest.raises(KeyError):
        await engine.replace("nobody", versions[0])


async def test_no_request_fails_while_versions_change_under_load(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    """Each answer is that of one version to the picture that was sent."""
    served = engine.serve("reader", versions[0])
    gains_seen: set[float] = set()
    over = False

    async def client(number: int) -> int:
        count = 0
        while not over:
            value = float(number * 1000 + count)
            with served.use() as network:
                gain = float(network.manifest.version)
                outputs = await network.run(picture(value))
            np.testing.assert_allclose(
                outputs["logits"], [[gain * value, -gain * value]], rtol=1e-5
            )
            gains_seen.add(gain)
            count += 1
        return count

    clients = [asyncio.ensure_future(client(number)) for number in range(8)]
    for turn in range(6):
        await engine.replace("reader", versions[(turn + 1) % 3])
        await asyncio.sleep(0)
    over = True
    counts = await asyncio.gather(*clients)

    assert min(counts) >= 1
    assert len(gains_seen) >= 2
    assert len(engine.networks) == 1


async def test_a_closed_engine_tells_those_who_wait_for_a_load(
    versions: list[ModelPackage],
) -> None:
    sessions = TrickySessions()
    with Engine("cpu", threads=1, open_session=sessions) as engine:
        network = engine.load(versions[0])
        await asyncio.wrap_future(engine.unload(network))
    with pytest.raises(EngineStopped):
        await network.run(picture(0.5))


async def test_a_load_that_takes_too_long_is_a_deadline(
    engine: Engine, versions: list[ModelPackage]
) -> None:
    """The time a network needs to come back counts like any other wait."""
    network = engine.load(versions[0])
    await asyncio.wrap_future(engine.unload(network))

    with pytest.raises(InferenceDeadline):
        await network.run(picture(0.5), deadline_s=0.0)
    assert await first_logit(network, 0.5) == pytest.approx(0.5)
