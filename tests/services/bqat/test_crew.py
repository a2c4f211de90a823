"""Processes that assess: what is slow or deadly costs itself alone."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from services.bqat.crew import Crew, CrewFailed, Order
from services.bqat.domain import Modality, Sample
from tests.services.bqat.support import STUB, face, sample

ORDER = Order(Modality.FACE, None, {})


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncGenerator[Crew]:
    """Two processes with little patience."""
    async with Crew(2, timeout_s=3, module=STUB, home=tmp_path) as crew:
        yield crew


def named(position: int) -> Sample:
    """Some sample."""
    return Sample(position, f"{position}.jpg", "")


async def test_many_samples_are_assessed_by_two_processes(crew: Crew) -> None:
    """Each gets its own answer."""
    found = await asyncio.gather(*(crew.assess(ORDER, named(n), face(n)) for n in range(40)))
    assert [each.profile["ipd"] for each in found] == list(range(40))
    assert len(crew.process_ids()) == 2


async def test_a_sample_that_takes_too_long_ends_its_process_and_nothing_else(crew: Crew) -> None:
    """The others go on meanwhile."""
    slow, *others = await asyncio.gather(
        crew.assess(ORDER, named(0), sample(sleep=30)),
        *(crew.assess(ORDER, named(n), face(n)) for n in range(1, 6)),
    )
    assert slow.failure == "The sample took longer than 3 s."
    assert all(each.failure is None for each in others)


async def test_a_deadly_sample_is_tried_twice_and_then_left(crew: Crew) -> None:
    """What follows finds a fresh process."""
    deadly = await crew.assess(ORDER, named(0), sample(die=True))
    after = await crew.assess(ORDER, named(1), face(48))
    assert deadly.failure == "The sample ended the process that read it."
    assert after.profile["ipd"] == 48


async def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """When the crew closes, whatever they are doing."""
    async with Crew(1, timeout_s=30, module=STUB, home=tmp_path) as crew:
        busy = asyncio.create_task(crew.assess(ORDER, named(0), sample(sleep=20)))
        while not crew.process_ids():
            await asyncio.sleep(0.01)
        (pid,) = crew.process_ids()
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_processes_without_work_end_and_come_back(tmp_path: Path) -> None:
    """Their networks hold memory that nobody needs meanwhile."""
    async with Crew(1, module=STUB, home=tmp_path, idle_s=0.05) as crew:
        first = await crew.assess(ORDER, named(0), face(48))
        async with asyncio.timeout(10):
            while crew.process_ids():
                await asyncio.sleep(0.01)
        second = await crew.assess(ORDER, named(1), face(49))
    assert (first.profile["ipd"], second.profile["ipd"]) == (48, 49)


async def test_a_crew_that_cannot_start_says_so(tmp_path: Path) -> None:
    """Instead of waiting."""
    async with Crew(1, module="tests.services.bqat.no_such_module", home=tmp_path) as crew:
        with pytest.raises(CrewFailed):
            await crew.assess(ORDER, named(0), face(48))
