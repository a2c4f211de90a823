"""What was measured, and the arithmetic on it: medians of rounds, and ratios within a round."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.table import Table

#: The row that all others are compared with.
LIMIT = "bare loop"


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on every target."""

    network: str
    body: str
    """`picture`, a JPEG file, or `tensor`, the network's input itself."""
    connections: int

    def __str__(self) -> str:
        return f"{self.network} network, {self.body}, {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one load on one target gave in one round."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of the target for one answer, all its processes together."""
    failed: int
    others_cores: float = 0.0
    """Cores that the machine's other work kept busy meanwhile."""
    gpu_busy: float = 0.0
    """The share of the time in which the GPU ran some kernel."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one load on one target gave over the rounds."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    failed: int
    share: float
    """Of the bare loop's answers per second, the median of the ratios within a round."""
    lowest_share: float
    highest_share: float
    others_cores: float
    added_ms: float
    """At the median answer beyond the bare loop's, the median over the rounds."""
    gpu_busy: float


Rounds = Mapping[str, Sequence[Measured]]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def summarise(rounds: Sequence[Measured], limits: Sequence[Measured]) -> Summary:
    """Put the rounds of a target together, beside the limit's in the same rounds."""
    shares = [
        ours.per_s / limit.per_s if limit.per_s else 0.0
        for ours, limit in zip(rounds, limits, strict=True)
    ]
    added = [ours.p50_ms - limit.p50_ms for ours, limit in zip(rounds, limits, strict=True)]
    return Summary(
        per_s=median(each.per_s for each in rounds),
        p50_ms=median(each.p50_ms for each in rounds),
        p99_ms=median(each.p99_ms for each in rounds),
        cpu_ms=median(each.cpu_ms for each in rounds),
        failed=sum(each.failed for each in rounds),
        others_cores=median(each.others_cores for each in rounds),
        share=median(shares),
        lowest_share=min(shares),
        highest_share=max(shares),
        added_ms=median(added),
        gpu_busy=median(each.gpu_busy for each in rounds),
    )


def to_table(load: Load, rounds: Rounds) -> Table:
    """One load's figures, a row per target."""
    table = Table(title=str(load), title_justify="left")
    table.add_column("target")
    for heading in (
        "answers/s", "p50 ms", "p99 ms", "CPU ms", "of bare", "(rounds)", "added ms", "failed",
        "others", "GPU",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for target, measured in rounds.items():
        found = summarise(measured, rounds[LIMIT])
        table.add_row(
            target,
            f"{found.per_s:,.0f}" if found.per_s >= 1000 else f"{found.per_s:,.1f}",
            f"{found.p50_ms:.2f}",
            f"{found.p99_ms:.2f}",
            f"{found.cpu_ms:.2f}",
            f"{found.share:.2f}",
            f"{found.lowest_share:.2f}–{found.highest_share:.2f}",
            f"{found.added_ms:+.2f}",
            str(found.failed),
            f"{found.others_cores:.1f}",
            f"{found.gpu_busy:.0%}" if found.gpu_busy else "",
        )
    return table


def to_json(found: Mapping[Load, Rounds]) -> list[dict[str, object]]:
    """Every round of everything, and what it comes to."""
    return [
        {
            **asdict(load),
            "target": target,
            "rounds": [asdict(each) for each in measured],
            "summary": asdict(summarise(measured, rounds[LIMIT])),
        }
        for load, rounds in found.items()
        for target, measured in rounds.items()
    ]
