"""A long mixed load, to see whether anything grows: memory, open files, threads, time.

In every window some ask for answers in turn, through the gateway and directly; others send what
is no picture, or leave before their answer; the network is replaced once; and a crowd comes at
once. At the end of the window, when all is answered, the processes are looked at.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from rich.table import Table

from bench.serving.client import Answer, Client, ask_in_turn, count_mixed
from bench.serving.figures import percentile
from bench.serving.service import VERSION_PATH
from bench.serving.targets import Target

MB = 1024 * 1024
#: What a process may have more of at the end than when it was warm.
MAX_GROWN_BYTES = 8 * MB
MAX_GROWN_SHARE = 0.05
MAX_GROWN_FILES = 4
MAX_GROWN_THREADS = 2
MAX_SLOWER = 1.5
_WARM_SHARE = 0.2
_FEWEST_WINDOWS = 10
_TOLERANCE = 1e-3
_GATEWAY_CONNECTIONS, _DIRECT_CONNECTIONS = 4, 2
_CROWD = 48
_SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Sample:
    """One window: what was answered in it, and what the processes had after it."""

    at_s: float
    answers: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time for each request of any kind."""
    rss_bytes: int
    files: int
    threads: int
    refused: int
    """Good requests that there was no time for, when the crowd came: 503."""
    failed: int
    """Good requests neither answered nor refused, and bad ones that were not refused as bad."""
    mixed: int
    others_cores: float = 0.0


@dataclass(frozen=True, slots=True)
class Bodies:
    """What is sent: good as a picture, good as a tensor, and bad."""

    picture: bytes
    tensor: bytes
    bad: tuple[bytes, ...]


def bad_bodies(picture: bytes) -> tuple[bytes, ...]:
    """A picture that is cut, one whose pixels are damaged, and what is none."""
    middle = len(picture) // 2
    return (picture[:middle], picture[:20] + bytes(64) + picture[84:middle], b"", b"no picture")


def find_growth(samples: Sequence[Sample]) -> list[str]:
    """What grew between the first and the last third of the windows, warm-up left out.

    Times are compared by processor time too: neighbours make answers late, and cost no more of it.
    """
    warm = samples[round(len(samples) * _WARM_SHARE) :]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]

    def both(read: Callable[[Sample], float]) -> tuple[float, float]:
        return median(read(each) for each in first), median(read(each) for each in last)

    found = []
    before, after = both(lambda each: each.rss_bytes)
    if after - before > max(MAX_GROWN_BYTES, MAX_GROWN_SHARE * before):
        found.append(f"memory grew from {before / MB:.1f} to {after / MB:.1f} MB")
    # What is open varies with the connections that are kept for the next crowd; a leak is never
    # given back, so that even the least of a third is more than before.
    before, after = min(each.files for each in first), min(each.files for each in last)
    if after - before > MAX_GROWN_FILES:
        found.append(f"open files grew from {before:.0f} to {after:.0f}")
    before, after = min(each.threads for each in first), min(each.threads for each in last)
    if after - before > MAX_GROWN_THREADS:
        found.append(f"threads grew from {before:.0f} to {after:.0f}")
    slower = both(lambda each: each.p50_ms)
    dearer = both(lambda each: each.cpu_ms)
    if slower[1] > MAX_SLOWER * slower[0] and dearer[1] > MAX_SLOWER * dearer[0]:
        found.append(
            f"answers grew from {slower[0]:.1f} to {slower[1]:.1f} ms, and from "
            f"{dearer[0]:.2f} to {dearer[1]:.2f} ms of processor time"
        )
    return found


def soak(
    direct: Target,
    gateway: Target,
    bodies: Bodies,
    known: dict[str, list[float]],
    seconds: float,
    others: Callable[[], Callable[[], float]],
) -> list[Sample]:
    """Put the mixed load on a service and its gateway.

    Args:
        direct: the service's own port.
        gateway: the gateway before it; its processes are the service's too.
        bodies: what is sent.
        known: the logits of every version for the picture, in the order of their numbers.
        seconds: for how long in all.
        others: begins to watch the machine's other work; what it gives says how many cores.
    """
    window_s = min(30.0, max(2.0, seconds / 60))
    samples: list[Sample] = []
    began_at = time.perf_counter()
    while (at_s := time.perf_counter() - began_at) < seconds or len(samples) < _FEWEST_WINDOWS:
        used_s, watched = gateway.cpu_s(), others()
        good, bad, asked = asyncio.run(
            _window(direct, gateway, bodies, window_s, len(samples) % len(known))
        )
        pictures = [answer for answer in good if answer.body.startswith(b"{")]
        time.sleep(_SETTLE_S)
        times = sorted(answer.took_s for answer in good)
        rss_bytes, files, threads = _held_by(gateway.pids)
        samples.append(
            Sample(
                at_s=at_s + window_s,
                answers=sum(answer.status == 200 for answer in good),
                p50_ms=percentile(times, 0.5) * 1e3,
                p99_ms=percentile(times, 0.99) * 1e3,
                cpu_ms=(gateway.cpu_s() - used_s) / max(1, asked) * 1e3,
                rss_bytes=rss_bytes,
                files=files,
                threads=threads,
                refused=sum(answer.status == 503 for answer in good),
                failed=sum(answer.status not in (200, 503) for answer in good)
                + sum(answer.status not in (415, 422) for answer in bad),
                mixed=count_mixed(pictures, known, _TOLERANCE),
                others_cores=watched(),
            )
        )
    return samples


async def _window(
    direct: Target, gateway: Target, bodies: Bodies, seconds: float, version: int
) -> tuple[list[Answer], list[Answer], int]:
    """All that happens in one window: the answers to pictures, those to bad bodies, and a count."""
    pictures = [Client(each.port, each.request(bodies.picture)) for each in (gateway, direct)]
    tensors = Client(direct.port, direct.request(bodies.tensor))
    bad = [Client(gateway.port, gateway.request(body)) for body in bodies.bad]
    left = 0

    async def leave() -> None:
        nonlocal left
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            left += 1
            await _leave_early(gateway, bodies.picture, (left % 7) * 0.005)

    async def crowd() -> None:
        await asyncio.sleep(seconds * 0.6)
        await asyncio.gather(*(pictures[0].send() for _ in range(_CROWD)))

    async def replace() -> None:
        await asyncio.sleep(seconds * 0.3)
        await asyncio.to_thread(direct.ask, "PUT", f"{VERSION_PATH}/{version}")

    async def now_and_then(client: Client) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await client.send()
            await asyncio.sleep(0.05)

    await asyncio.gather(
        ask_in_turn(pictures[0], _GATEWAY_CONNECTIONS, seconds),
        ask_in_turn(pictures[1], _DIRECT_CONNECTIONS, seconds),
        ask_in_turn(tensors, 1, seconds),
        *(now_and_then(client) for client in bad),
        leave(),
        crowd(),
        replace(),
    )
    for client in (*pictures, tensors, *bad):
        client.close()
    refused = [answer for client in bad for answer in client.answers]
    good = [answer for client in pictures for answer in client.answers]
    failed_tensors = [answer for answer in tensors.answers if answer.status != 200]
    asked = len(good) + len(tensors.answers) + len(refused) + left
    return [*good, *failed_tensors], refused, asked


async def _leave_early(target: Target, body: bytes, after_s: float) -> None:
    """Ask, and be gone before the answer."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(target.request(body))
        await asyncio.sleep(after_s)
        writer.transport.abort()


def _held_by(pids: Sequence[int]) -> tuple[int, int, int]:
    """Bytes of memory, open files and threads of processes and their children."""
    rss_bytes = files = threads = 0
    for pid in pids:
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                rss_bytes += process.memory_info().rss
                files += len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
                threads += process.num_threads()
    return rss_bytes, files, threads


def to_table(title: str, samples: Sequence[Sample], rows: int = 12) -> Table:
    """Some of the windows, the first and the last among them."""
    table = Table(title=title, title_justify="left")
    for heading in (
        "after s", "answers", "p50 ms", "p99 ms", "CPU ms", "MB", "files", "threads", "refused",
        "failed", "mixed", "others",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    step = max(1, -(-len(samples) // rows))
    shown = [*samples[:-1:step], samples[-1]]
    for each in shown:
        table.add_row(
            f"{each.at_s:.0f}",
            f"{each.answers:,}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.cpu_ms:.2f}",
            f"{each.rss_bytes / MB:.1f}",
            str(each.files),
            str(each.threads),
            str(each.refused),
            str(each.failed),
            str(each.mixed),
            f"{each.others_cores:.1f}",
        )
    return table
