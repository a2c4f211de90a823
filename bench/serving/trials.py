"""Two trials beside the steady load: three times what can be answered, and a change of network."""

import asyncio
import time
from dataclasses import dataclass

from bench.serving.client import (
    Answer,
    Client,
    Overloaded,
    ask_at_rate,
    ask_in_turn,
    count_mixed,
    to_overloaded,
)
from bench.serving.figures import percentile
from bench.serving.service import VERSION_PATH
from bench.serving.targets import Target

OVERLOAD = 3.0
_CONNECTIONS = 16
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Overload:
    """A target's capacity, and what is left of it when three times as much is asked."""

    target: str
    capacity_per_s: float
    found: Overloaded

    @property
    def goodput(self) -> float:
        """The share of the capacity that is left."""
        return self.found.good_per_s / self.capacity_per_s


@dataclass(frozen=True, slots=True)
class Swaps:
    """What was asked while the network was replaced again and again."""

    changes: int
    answers: int
    failed: int
    mixed: int
    versions_seen: int
    p50_ms: float
    p99_ms: float


def overload(target: Target, body: bytes, seconds: float) -> Overload:
    """Find out how much a target can answer, then ask three times as much."""

    async def measure() -> Overload:
        request = target.request(body)
        calm = Client(target.port, request)
        began_at = time.perf_counter()
        await ask_in_turn(calm, _CONNECTIONS, seconds)
        took_s = time.perf_counter() - began_at
        calm.close()
        capacity_per_s = sum(answer.status == 200 for answer in calm.answers) / took_s
        crowd = Client(target.port, request)
        await ask_at_rate(crowd, OVERLOAD * capacity_per_s, seconds)
        crowd.close()
        if not crowd.answers:
            raise RuntimeError(f"{target.name} answers nothing at all")
        found = to_overloaded(crowd.answers, seconds)
        return Overload(target.name, capacity_per_s, found)

    return asyncio.run(measure())


def swap(
    target: Target, body: bytes, seconds: float, known: dict[str, list[float]], every_s: float = 1.0
) -> Swaps:
    """Replace the network again and again while it is asked.

    Args:
        target: Vedette's service.
        body: what is asked.
        seconds: for how long.
        known: the logits of every version by its name, in the order of their numbers.
        every_s: the time between two changes.
    """

    async def measure() -> tuple[int, list[Answer]]:
        client = Client(target.port, target.request(body))
        asking = asyncio.create_task(ask_in_turn(client, _CONNECTIONS, seconds))
        changes = 0
        while not asking.done():
            await asyncio.wait((asking,), timeout=every_s)
            if not asking.done():
                changes += 1
                path = f"{VERSION_PATH}/{changes % len(known)}"
                await asyncio.to_thread(target.ask, "PUT", path)
        await asking
        client.close()
        return changes, client.answers

    changes, answers = asyncio.run(measure())
    times = sorted(answer.took_s for answer in answers)
    return Swaps(
        changes=changes,
        answers=len(answers),
        failed=sum(answer.status != 200 for answer in answers),
        mixed=count_mixed(answers, known, _TOLERANCE),
        versions_seen=sum(
            any(name.encode() in answer.body for answer in answers) for name in known
        ),
        p50_ms=percentile(times, 0.5) * 1e3,
        p99_ms=percentile(times, 0.99) * 1e3,
    )
