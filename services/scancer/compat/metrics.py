"""Metrics under TorchServe's names, old and new, for dashboards that know those.

Written here and not through Prometheus' client, which would append `_total` to counters that
TorchServe calls by other names. Labels of both generations are on every series: `uuid` names the
process, `hostname` the machine.
"""

import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.scancer.catalogue import Catalogue, Version
from services.scancer.counting import Counting
from shared.inference.metrics import tally_of

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its samples."""

    name: str
    help: str
    kind: str
    samples: tuple[tuple[Labels, float], ...]

    def lines(self) -> Iterator[str]:
        """Prometheus' text."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
            yield f"{self.name}{{{text}}} {value!r}"


@dataclass(slots=True)
class OldMetrics:
    """TorchServe's metrics of this process."""

    catalogue: Catalogue
    counting: Counting
    home: Path
    _process: str = field(default_factory=lambda: str(uuid.uuid4()))
    _host: str = field(default_factory=socket.gethostname)
    _cpu: "_CpuShare" = field(default_factory=lambda: _CpuShare())

    def page(self, names: Iterable[str] = ()) -> str:
        """All families, or those that are named, in Prometheus' text format."""
        wanted = set(names)
        lines = [
            line
            for family in self._families()
            if not wanted or family.name in wanted
            for line in family.lines()
        ]
        return "".join(f"{line}\n" for line in lines)

    def _families(self) -> Iterator[Family]:
        self.counting.forget(set(self.catalogue.names()))
        yield from self._per_model()
        yield from self._per_version()
        for name, count in (
            ("Requests2XX", self.counting.answers_2xx),
            ("Requests4XX", self.counting.answers_4xx),
            ("Requests5XX", self.counting.answers_5xx),
        ):
            labels = {"Level": "Host", "Hostname": self._host}
            yield Family(
                name, f"Answers of class {name[8:]} on TorchServe's paths.", "counter",
                ((labels, float(count)),),
            )  # fmt: skip
        yield from self._machine()

    def _per_model(self) -> Iterator[Family]:
        counted = [
            (
                {
                    "uuid": self._process,
                    "model_name": name,
                    "model_version": version,
                    "hostname": self._host,
                },
                each,
            )
            for (name, version), each in self.counting
        ]
        yield Family(
            "ts_inference_requests_total", "Total number of inference requests.", "counter",
            tuple((labels, float(each.requests)) for labels, each in counted),
        )  # fmt: skip
        yield Family(
            "ts_inference_latency_microseconds", "Cumulative inference duration in microseconds",
            "counter", tuple((labels, each.handled_us) for labels, each in counted),
        )  # fmt: skip
        yield Family(
            "ts_queue_latency_microseconds", "Cumulative queue duration in microseconds",
            "counter",
            tuple(
                (labels, self._queued_us(labels["model_name"], labels["model_version"]))
                for labels, _ in counted
            ),
        )  # fmt: skip
        host = [
            (
                {
                    "ModelName": labels["model_name"],
                    "Level": "Model",
                    "Hostname": self._host,
                },
                each,
            )
            for labels, each in counted
            if labels["model_version"] == "default"
        ]
        yield Family(
            "PredictionTime", "Milliseconds of the last prediction.", "gauge",
            tuple((labels, each.last_handled_ms) for labels, each in host),
        )  # fmt: skip
        yield Family(
            "HandlerTime", "Milliseconds of the last run and its wait.", "gauge",
            tuple((labels, each.last_computed_ms) for labels, each in host),
        )  # fmt: skip

    def _per_version(self) -> Iterator[Family]:
        served = [each for each in self.catalogue.all_versions() if each.served is not None]
        yield Family(
            "WorkerLoadTime", "Milliseconds that bringing a network into memory took.", "gauge",
            tuple((self._version_labels(each), each.load_s * 1e3) for each in served),
        )  # fmt: skip
        yield Family(
            "QueueTime", "Milliseconds that pictures waited for a run, on average.", "gauge",
            tuple((self._version_labels(each), _mean_wait_ms(each)) for each in served),
        )  # fmt: skip

    def _version_labels(self, version: Version) -> Labels:
        return {
            "ModelName": version.registration.name,
            "ModelVersion": version.registration.version,
            "Level": "Host",
            "Hostname": self._host,
        }

    def _queued_us(self, name: str, version: str) -> float:
        """The engine's sum of waits; it counts by network, whichever way the request came."""
        for each in self.catalogue.all_versions():
            registration = each.registration
            is_meant = (
                registration.is_default if version == "default" else registration.version == version
            )
            if registration.name == name and is_meant:
                return _waits(each)[1] * 1e6
        return 0.0

    def _machine(self) -> Iterator[Family]:
        labels = {"Level": "Host", "Hostname": self._host}
        disk = shutil.disk_usage(self.home)
        memory = _memory_mb()
        figures = {
            "CPUUtilization": ("Percent of the processor cores in use.", self._cpu.percent()),
            "MemoryUsed": ("Megabytes in use.", memory[0] - memory[1]),
            "MemoryAvailable": ("Megabytes available.", memory[1]),
            "MemoryUtilization": (
                "Percent of the memory in use.",
                100 * (memory[0] - memory[1]) / memory[0] if memory[0] else 0.0,
            ),
            "DiskUsage": ("Gigabytes in use.", disk.used / 2**30),
            "DiskAvailable": ("Gigabytes free.", disk.free / 2**30),
            "DiskUtilization": ("Percent of the disk in use.", 100 * disk.used / disk.total),
        }
        for name, (meaning, value) in figures.items():
            yield Family(name, meaning, "gauge", ((labels, round(float(value), 3)),))


class _CpuShare:
    """The machine's use of its cores since the last time that somebody asked."""

    def __init__(self) -> None:
        self._before = _cpu_ticks()
        self._percent = 0.0

    def percent(self) -> float:
        busy, total = _cpu_ticks()
        if total > self._before[1]:
            self._percent = 100 * (busy - self._before[0]) / (total - self._before[1])
            self._before = (busy, total)
        return self._percent


def _cpu_ticks() -> tuple[int, int]:
    """Ticks that were worked, and all of them; zeros where the system does not say."""
    try:
        figures = [
            int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        ]
    except (OSError, ValueError, IndexError):
        return 0, 0
    idle = sum(figures[3:5])
    return sum(figures) - idle, sum(figures)


def _memory_mb() -> tuple[float, float]:
    """All memory and what is available of it."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, available = (
            int(lines[name].split()[0]) / 1024 for name in ("MemTotal", "MemAvailable")
        )
    except (OSError, ValueError, KeyError, IndexError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        return total, 0.0
    return total, available


def _waits(version: Version) -> tuple[float, float]:
    """How many pictures waited for a run of this version's network, and how long together."""
    package = version.registration.package
    buckets, total_s = tally_of(package.model_id, package.model_version).queue_seconds.cumulative()
    return buckets[-1][1], total_s


def _mean_wait_ms(version: Version) -> float:
    count, total_s = _waits(version)
    return total_s / count * 1e3 if count else 0.0


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
