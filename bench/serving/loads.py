"""Puts load on a target: `wrk` over HTTP, or plain threads in this process."""

import contextlib
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.serving.bare import BareNetwork, Setup
from bench.serving.figures import Measured, percentile
from bench.serving.targets import Target

_WRK_SCRIPT = """\
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
{headers}
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %.1f %.1f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""
_GPU_BATCH = 32
_QUIET_CORES = 0.2
_LISTEN_S = 0.3
_result = re.compile(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)").search


def put_load(
    target: Target, body: bytes, connections: int, seconds: float, folder: Path
) -> Measured:
    """Ask a target from as many connections, each of which waits for its answer."""
    sent, script = folder / "wrk-body", folder / "wrk.lua"
    sent.write_bytes(target.frame(body))
    headers = "\n".join(f'wrk.headers["{key}"] = "{text}"' for key, text in target.headers())
    script.write_text(_WRK_SCRIPT.format(body=sent, headers=headers))
    used_s, neighbours = target.cpu_s(), Neighbours()
    finished = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s",
         "-s", str(script), f"http://127.0.0.1:{target.port}{target.path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    used_s, others_cores = target.cpu_s() - used_s, neighbours.cores()
    _let_finish(target)
    found = _result(finished.stdout)
    if found is None:
        raise RuntimeError(f"wrk said: {finished.stdout}{finished.stderr}")
    answers, took_us, failed, p50_us, p99_us = (float(part) for part in found.groups())
    # A refusal is fast, and must not make anybody look fast.
    answered = max(0.0, answers - failed)
    return Measured(
        per_s=answered / (took_us / 1e6),
        p50_ms=p50_us / 1e3,
        p99_ms=p99_us / 1e3,
        cpu_ms=used_s / max(1.0, answers) * 1e3,
        failed=int(failed),
        others_cores=others_cores,
    )


def _let_finish(target: Target, most_s: float = 10.0) -> None:
    """Wait until a target has computed what it was asked last, for a client who is gone.

    With slow networks and many connections that takes seconds, which the next one must not pay.
    """
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        used_s = target.cpu_s()
        time.sleep(0.15)
        if target.cpu_s() - used_s <= 0.03:
            return


class Neighbours:
    """What else the machine does, which slows everything down that is measured meanwhile."""

    def __init__(self) -> None:
        self._began_at = time.perf_counter()
        self._busy_s = _busy_s() - _own_s()

    def cores(self) -> float:
        """Cores kept busy by others, or taken by the machine's host, since this was made."""
        took_s = time.perf_counter() - self._began_at
        return max(0.0, (_busy_s() - _own_s() - self._busy_s) / took_s)


def undisturbed(measure: Callable[[], Measured], patience_s: float) -> Measured:
    """Measure while others leave the machine alone; try again for as long as there is patience.

    Returns:
        The first measurement with quiet neighbours, or else the one with the quietest.
    """
    until = time.monotonic() + patience_s
    found = measure()
    while found.others_cores > _QUIET_CORES and time.monotonic() < until:
        neighbours = Neighbours()
        time.sleep(_LISTEN_S)
        if neighbours.cores() <= _QUIET_CORES:
            found = min(found, measure(), key=lambda each: each.others_cores)
    return found


def _busy_s() -> float:
    """Processor time that was not idle, over all cores."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_s() -> float:
    """Processor time of this process, of what it started, and of what that started and ended."""
    seconds = 0.0
    for process in (here := psutil.Process(), *here.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


class BareLoop:
    """The limit: callers who do nothing but the work itself, in the layout that suits it best.

    On the processor one single-threaded caller per core. On a GPU one caller with the batches
    that so many connections could fill at most, while all cores prepare the next one.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._network = BareNetwork(setup)
        self.provider = self._network.provider

    def measure(self, body: bytes, connections: int, seconds: float) -> Measured:
        """Prepare the body and run the network, again and again."""
        network = self._network
        if not self._setup.is_on_gpu:
            return self._loop(lambda: network.answer(body), connections, seconds, 1)
        batch = min(connections, _GPU_BATCH)
        with ThreadPoolExecutor(self._setup.threads) as preparers:

            def prepare() -> list[Future[NDArray[np.float32]]]:
                return [preparers.submit(network.prepare, body) for _ in range(batch)]

            # With one connection there is no next picture before the answer.
            ahead = deque([prepare()] if connections > 1 else [])

            def work() -> None:
                ahead.append(prepare())
                network.run(np.stack([picture.result() for picture in ahead.popleft()]))

            return self._loop(work, connections, seconds, batch)

    def measure_runs(self, body: bytes, connections: int, seconds: float) -> Measured:
        """Run the network on a body that is prepared already."""
        batch = min(connections, _GPU_BATCH) if self._setup.is_on_gpu else 1
        pictures = np.stack([self._network.prepare(body)] * batch)
        return self._loop(lambda: self._network.run(pictures), connections, seconds, batch)

    def _loop(
        self, work: Callable[[], object], connections: int, seconds: float, batch: int
    ) -> Measured:
        callers = 1 if self._setup.is_on_gpu else min(connections, self._setup.threads)
        waits: list[float] = []
        until = time.perf_counter() + seconds

        def call() -> None:
            while (began_at := time.perf_counter()) < until:
                work()
                waits.append(time.perf_counter() - began_at)

        neighbours = Neighbours()
        used_s, began_at = time.process_time(), time.perf_counter()
        threads = [threading.Thread(target=call) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.perf_counter() - began_at
        waits.sort()
        return Measured(
            per_s=len(waits) * batch / took_s,
            p50_ms=percentile(waits, 0.5) * 1e3,
            p99_ms=percentile(waits, 0.99) * 1e3,
            cpu_ms=(time.process_time() - used_s) / (len(waits) * batch) * 1e3,
            failed=0,
            others_cores=neighbours.cores(),
        )
