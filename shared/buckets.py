"""A histogram that is cheap to add to; Prometheus' form of it is made when somebody asks."""

from bisect import bisect_left
from collections.abc import Sequence


class Buckets:
    """Counts of figures per bucket, and their sum; whoever adds sees to it that one does at a time.

    `prometheus_client`'s own looks through its labels, bounds and locks at each figure, which is
    felt where thousands are added in a second.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, figure: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, figure)] += 1
        self._sum += figure

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """What `HistogramMetricFamily.add_metric` takes: buckets up to infinity, and the sum."""
        total = 0.0
        buckets = []
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for name, count in zip(names, self._counts, strict=True):
            total += count
            buckets.append((name, total))
        return buckets, self._sum
