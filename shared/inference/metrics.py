"""What the engine counts, per model and version.

A request touches no metric object: whoever settles a batch adds it up once, and the figures take
Prometheus' form when somebody asks for them.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.buckets import Buckets

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128)
_MODEL = ["model", "version"]


class Waiting(ABC):
    """A queue: whoever asks for the metrics is told its length."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many pictures wait."""


class Tally:
    """The figures of one version of one model."""

    def __init__(self) -> None:
        # Whoever adds holds it.
        self._lock = threading.Lock()
        self.queue_seconds = Buckets(_SECONDS)
        self.compute_seconds = Buckets(_SECONDS)
        self.batch_pictures = Buckets(_PICTURES)
        self.rejects: dict[str, int] = {}
        self.queues: WeakSet[Waiting] = WeakSet()
        self.resident_bytes = 0

    def add_run(self, compute_s: float, pictures: int) -> None:
        """Count one run."""
        with self._lock:
            self.compute_seconds.add(compute_s)
            self.batch_pictures.add(pictures)

    def add_queued(self, waits_s: Sequence[float]) -> None:
        """Count how long the pictures of a run waited for it."""
        with self._lock:
            for wait_s in waits_s:
                self.queue_seconds.add(wait_s)

    def add_reject(self, reason: str) -> None:
        """Count a request without an answer."""
        with self._lock:
            self.rejects[reason] = self.rejects.get(reason, 0) + 1


class _Tallies(Collector):
    """All tallies of the process, for Prometheus."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, str], Tally] = {}

    def tally_of(self, model: str, version: str) -> Tally:
        with self._lock:
            return self._tallies.setdefault((model, version), Tally())

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            tallies = list(self._tallies.items())
        yield from _histograms(tallies)
        rejects = CounterMetricFamily(
            "vedette_inference_rejected",
            "Requests that got no answer: busy, deadline, cancelled, stopped, failed.",
            labels=[*_MODEL, "reason"],
        )
        waiting = GaugeMetricFamily(
            "vedette_inference_waiting", "Pictures waiting for a free caller now.", labels=_MODEL
        )
        resident = GaugeMetricFamily(
            "vedette_inference_resident_bytes",
            "Estimated memory of the loaded network; 0 when it is not in memory.",
            labels=_MODEL,
        )
        for model, tally in tallies:
            for reason, count in list(tally.rejects.items()):
                rejects.add_metric([*model, reason], count)
            waiting.add_metric(model, sum(queue.waiting for queue in tally.queues))
            resident.add_metric(model, tally.resident_bytes)
        yield from (rejects, waiting, resident)


def _histograms(tallies: Sequence[tuple[tuple[str, str], Tally]]) -> Iterator[Metric]:
    queue = HistogramMetricFamily(
        "vedette_inference_queue_seconds", "Time a picture waits for a free caller.", labels=_MODEL
    )
    compute = HistogramMetricFamily(
        "vedette_inference_compute_seconds", "Time of one network run.", labels=_MODEL
    )
    batch = HistogramMetricFamily(
        "vedette_inference_batch_pictures", "Pictures in one network run.", labels=_MODEL
    )
    for model, tally in tallies:
        queue.add_metric(model, *tally.queue_seconds.cumulative())
        compute.add_metric(model, *tally.compute_seconds.cumulative())
        batch.add_metric(model, *tally.batch_pictures.cumulative())
    yield from (queue, compute, batch)


_TALLIES = _Tallies()
REGISTRY.register(_TALLIES)


def tally_of(model: str, version: str) -> Tally:
    """The figures of a version; the same ones however often it is loaded."""
    return _TALLIES.tally_of(model, version)
