"""Names that come and go while they are asked, and networks that may run only so often at once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.inference import Engine, ModelPackage
from tests.shared.inference.sessions import TrickySessions, picture, version_of


@pytest.fixture
def packages(tmp_path: Path) -> list[ModelPackage]:
    """Two models that can be told apart."""
    return [version_of(tmp_path / str(gain), f"{gain}.0", gain) for gain in (1, 2)]


@pytest.fixture
def sessions() -> TrickySessions:
    """What the engine has opened."""
    return TrickySessions()


@pytest.fixture
def engine(sessions: TrickySessions) -> Iterator[Engine]:
    """Two callers on the processor, through tricky sessions."""
    with Engine("cpu", threads=2, open_session=sessions) as engine:
        yield engine


async def test_a_withdrawn_network_leaves_memory(
    engine: Engine, packages: list[ModelPackage]
) -> None:
    served = engine.serve("reader", packages[0])
    await asyncio.wrap_future(engine.withdraw("reader"))

    assert not served.network.is_resident
    assert engine.networks == ()
    with pytest.raises(KeyError):
        engine.withdraw("reader")


async def test_what_has_begun_is_answered_after_the_withdrawal(
    engine: Engine, sessions: TrickySessions, packages: list[ModelPackage]
) -> None:
    served = engine.serve("reader", packages[0])
    session = sessions.opened[0]
    session.gate.clear()
    session.forget_entries()
    running = asyncio.ensure_future(served.run(picture(0.5)))
    await asyncio.to_thread(session.entered.acquire)
    gone = engine.withdraw("reader")
    was_resident = served.network.is_resident
    session.gate.set()
    outputs = await running
    await asyncio.wrap_future(gone)

    assert was_resident
    assert float(outputs["logits"][0, 0]) == pytest.approx(0.5)
    assert not served.network.is_resident


async def test_a_network_stays_while_another_name_needs_it(
    engine: Engine, packages: list[ModelPackage]
) -> None:
    engine.serve("one", packages[0])
    other = engine.serve("two", packages[0])
    await asyncio.wrap_future(engine.withdraw("one"))
    outputs = await other.run(picture(0.5))

    assert other.network.is_resident
    assert float(outputs["logits"][0, 0]) == pytest.approx(0.5)


async def test_a_limited_network_runs_no_more_often_at_once(
    engine: Engine, sessions: TrickySessions, packages: list[ModelPackage]
) -> None:
    """The second caller stays free for others; without the limit it takes the next batch."""
    served = engine.serve("reader", packages[0])
    other = engine.serve("other", packages[1])
    served.network.limit_runs(1)
    session = sessions.opened[0]
    session.gate.clear()
    session.forget_entries()
    asked = [asyncio.ensure_future(served.run(picture(0.5)))]
    await asyncio.to_thread(session.entered.acquire)
    asked.append(asyncio.ensure_future(served.run(picture(0.5))))
    outputs = await other.run(picture(0.5))
    begun_more = session.entered.acquire(blocking=False)
    served.network.limit_runs(2)
    begun_without_limit = await asyncio.to_thread(session.entered.acquire, True, 10)
    session.gate.set()
    await asyncio.gather(*asked)

    assert float(outputs["logits"][0, 0]) == pytest.approx(1.0)
    assert not begun_more
    assert begun_without_limit


async def test_all_who_wait_for_a_limited_network_are_answered(
    engine: Engine, packages: list[ModelPackage]
) -> None:
    served = engine.serve("reader", packages[0])
    engine.serve("other", packages[1]).network.limit_runs(1)
    served.network.limit_runs(1)
    names = ("reader", "other") * 40
    by_name = {"reader": served, "other": engine.serve("other", packages[1])}
    answers = await asyncio.gather(*(by_name[name].run(picture(0.25)) for name in names))

    found = [float(answer["logits"][0, 0]) for answer in answers]
    assert found == [pytest.approx(0.25), pytest.approx(0.5)] * 40
