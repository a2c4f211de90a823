"""What is counted per model and version, for the metrics that TorchServe's users know."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

#: What stands for "no version was named" in labels, as in TorchServe.
DEFAULT = "default"


@dataclass(slots=True)
class Counted:
    """Figures of one model and version; times are sums."""

    requests: int = 0
    handled_us: float = 0.0
    """From the body's last byte to the answer."""
    computed_us: float = 0.0
    """In the network's queue and the network."""
    last_handled_ms: float = 0.0
    last_computed_ms: float = 0.0


class Counting:
    """Counts; only names that are registered get here, so nothing grows with made-up ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], Counted] = {}
        self.answers_2xx = 0
        self.answers_4xx = 0
        self.answers_5xx = 0

    def add(self, name: str, version: str | None, *, handled_s: float, computed_s: float) -> None:
        """Count one answered request."""
        with self._lock:
            counted = self._counted.setdefault((name, version or DEFAULT), Counted())
            counted.requests += 1
            counted.handled_us += handled_s * 1e6
            counted.computed_us += computed_s * 1e6
            counted.last_handled_ms = handled_s * 1e3
            counted.last_computed_ms = computed_s * 1e3

    def add_status(self, status: int) -> None:
        """Count an answer by its class."""
        if status < 400:
            self.answers_2xx += 1
        elif status < 500:
            self.answers_4xx += 1
        else:
            self.answers_5xx += 1

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Counted]]:
        """Everything that is counted."""
        with self._lock:
            return iter(sorted(self._counted.items()))

    def forget(self, names: set[str]) -> None:
        """Drop the figures of models that are not registered any more.

        Args:
            names: the models that are.
        """
        with self._lock:
            self._counted = {key: each for key, each in self._counted.items() if key[0] in names}
