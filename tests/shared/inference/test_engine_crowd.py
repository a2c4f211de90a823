"""In a crowd the answers of runs that end soon after each other are handed over together."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.inference import EngineStopped, ModelPackage, Network
from shared.inference.callers import Callers
from shared.inference.warmup import BatchPlan
from tests.shared.inference.sessions import POISON, TrickySession, picture, version_of

RUN_S = 1.0
#: A run that goes on since then is expected to end within half its time.
WELL_ON_S = 0.6
CROWD = 30


class Turnstile(threading.Event):
    """Lets as many runs pass as it was told to, or all of them once it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._passes = threading.Semaphore(0)

    def let_pass(self, count: int = 1) -> None:
        """Let so many runs end."""
        self._passes.release(count)

    def set(self) -> None:
        """Let all of them end."""
        super().set()
        self._passes.release(1000)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for one's turn."""
        return self._passes.acquire(timeout=timeout)


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """Logits are the picture and its negative."""
    return version_of(tmp_path / "package", "1.0", 1)


@contextmanager
def two_threads(package: ModelPackage) -> Iterator[tuple[Network, TrickySession, Turnstile]]:
    """A network whose runs take a second, they say, and end when they are let."""
    session = TrickySession(package.read_network(), run_s=0.0)
    turnstile = session.gate = Turnstile()
    threads = Callers(2, "test")
    network = Network(package, threads, deadline_s=100.0, waiting_limit=64)
    network.open(session, BatchPlan(1, run_s=RUN_S))
    try:
        yield network, session, turnstile
    finally:
        turnstile.set()
        threads.close(10)


async def asked(
    network: Network, session: TrickySession, count: int, deadline_s: float | None = None
) -> "list[asyncio.Task[float]]":
    """So many requests, of which two are being run; the deadline is of those two."""

    async def ask(value: float, limit_s: float | None = None) -> float:
        outputs = await network.run(picture(value), deadline_s=limit_s)
        return float(outputs["logits"][0, 0])

    tasks = [asyncio.create_task(ask(float(number), deadline_s)) for number in range(2)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(ask(float(number))) for number in range(2, count)]
    for _ in range(2):
        await asyncio.to_thread(session.entered.acquire)
    return tasks


async def answered(tasks: "list[asyncio.Task[float]]", least: int) -> int:
    """How many have their answer, a moment after so many had it."""
    async with asyncio.timeout(10):
        while sum(task.done() for task in tasks) < least:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return sum(task.done() for task in tasks)


async def test_two_answers_of_a_crowd_come_together(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, CROWD)
        await asyncio.sleep(WELL_ON_S)
        turnstile.let_pass()
        # Its thread goes on with the next one.
        await asyncio.to_thread(session.entered.acquire)
        assert await answered(tasks, 0) == 0

        turnstile.let_pass()
        await asyncio.to_thread(session.entered.acquire)
        assert await answered(tasks, 2) == 2
        turnstile.set()
        assert await asyncio.gather(*tasks) == [float(number) for number in range(CROWD)]


async def test_nobody_waits_for_a_run_that_has_only_begun(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, CROWD)
        turnstile.let_pass()

        assert await answered(tasks, 1) == 1


async def test_nobody_waits_for_a_run_that_should_have_ended_long_ago(
    package: ModelPackage,
) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, CROWD)
        await asyncio.sleep(2.2 * RUN_S)
        turnstile.let_pass()

        assert await answered(tasks, 1) == 1


async def test_a_few_are_answered_as_soon_as_they_can_be(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, 12)
        await asyncio.sleep(WELL_ON_S)
        turnstile.let_pass()

        assert await answered(tasks, 1) == 1


async def test_a_request_whose_time_is_short_is_answered_at_once(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, CROWD, deadline_s=5.0)
        await asyncio.sleep(WELL_ON_S)
        turnstile.let_pass()

        assert await answered(tasks, 1) == 1


async def test_a_failure_takes_no_other_answer_along(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        failing = asyncio.create_task(network.run(picture(POISON)))
        await asyncio.sleep(0)
        tasks = await asked(network, session, CROWD)
        await asyncio.sleep(WELL_ON_S)
        turnstile.let_pass(2)
        await answered(tasks, 1)
        turnstile.set()
        answers = await asyncio.gather(failing, *tasks, return_exceptions=True)

    assert isinstance(answers[0], Exception)
    assert answers[1:] == [float(number) for number in range(CROWD)]


async def test_what_is_kept_is_handed_over_at_the_end(package: ModelPackage) -> None:
    with two_threads(package) as (network, session, turnstile):
        tasks = await asked(network, session, CROWD)
        await asyncio.sleep(WELL_ON_S)
        turnstile.let_pass()
        await asyncio.to_thread(session.entered.acquire)
    began_at = time.monotonic()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert time.monotonic() - began_at < 5
    kept = [answer for answer in answers if not isinstance(answer, EngineStopped)]
    assert len(kept) >= 3
    assert all(isinstance(answer, float) for answer in kept)
