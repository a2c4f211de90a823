"""A client that knows every answer: its status, its time, and what it says."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass

from bench.serving.figures import percentile

#: A client's connections; more requests than these at once would be no server's fault.
_MOST_AT_ONCE = 1500


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; status 0 where the connection broke."""

    status: int
    sent_at: float
    took_s: float
    body: bytes


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What came back while more was asked than can be answered."""

    sent_per_s: float
    good_per_s: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_share: float
    refused_p99_ms: float
    late: int
    """Accepted, and then given up with 504."""
    failed: int
    """Neither answered nor refused."""


class Client:
    """Sends one request again and again, over connections that are kept."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._resting: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[Answer] = []

    async def send(self, planned_at: float | None = None) -> Answer:
        """Ask once; the time counts from when the request was due."""
        sent_at = time.perf_counter() if planned_at is None else planned_at
        status, body = 0, b""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = (
                self._resting.pop()
                if self._resting
                else await asyncio.open_connection("127.0.0.1", self._port)
            )
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            status = int(head.split(b" ", 2)[1])
            if b"connection: close" in head:
                writer.close()
            else:
                self._resting.append((reader, writer))
        answer = Answer(status, sent_at, time.perf_counter() - sent_at, body)
        self.answers.append(answer)
        return answer

    def close(self) -> None:
        """Close every connection."""
        for _, writer in self._resting:
            writer.close()
        self._resting.clear()


async def ask_at_rate(client: Client, per_s: float, seconds: float) -> None:
    """Send at even distances whether or not answers come, then wait for the last ones."""
    began_at = time.perf_counter()
    pending: set[asyncio.Task[Answer]] = set()
    for number in range(int(per_s * seconds)):
        due_at = began_at + number / per_s
        if (early_s := due_at - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        while len(pending) >= _MOST_AT_ONCE:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(client.send(due_at))
        pending.add(task)
        task.add_done_callback(pending.discard)
    if pending:
        await asyncio.wait(pending)


async def ask_in_turn(client: Client, connections: int, seconds: float) -> None:
    """Send from as many places at once, each of which waits for its answer."""
    until = time.perf_counter() + seconds

    async def place() -> None:
        while time.perf_counter() < until:
            await client.send()

    await asyncio.gather(*(place() for _ in range(connections)))


def to_overloaded(answers: list[Answer], seconds: float) -> Overloaded:
    """What so many answers come to, when all were asked for within `seconds`.

    Goodput counts the answers that came from a second after the beginning until the sending
    ended: the first second fills the queues, and what is answered later was not throughput.
    """
    began_at = min(answer.sent_at for answer in answers)
    accepted = sorted(answer.took_s for answer in answers if answer.status == 200)
    refused = sorted(answer.took_s for answer in answers if answer.status == 503)
    late = sum(answer.status == 504 for answer in answers)
    warm_s = min(1.0, seconds / 4)
    good = sum(
        answer.status == 200 and warm_s <= answer.sent_at + answer.took_s - began_at < seconds
        for answer in answers
    )
    return Overloaded(
        sent_per_s=len(answers) / seconds,
        good_per_s=good / (seconds - warm_s),
        accepted_p50_ms=percentile(accepted, 0.5) * 1e3,
        accepted_p99_ms=percentile(accepted, 0.99) * 1e3,
        refused_share=len(refused) / len(answers),
        refused_p99_ms=percentile(refused, 0.99) * 1e3,
        late=late,
        failed=len(answers) - len(accepted) - len(refused) - late,
    )


def count_mixed(answers: list[Answer], known: dict[str, list[float]], tolerance: float) -> int:
    """How many answers name a version and give another's logits, or no version that is known."""
    mixed = 0
    for answer in answers:
        if answer.status == 200:
            said = json.loads(answer.body)
            logits = known.get(said["network"])
            mixed += logits is None or any(
                abs(ours - theirs) > tolerance
                for ours, theirs in zip(said["logits"], logits, strict=True)
            )
    return mixed
