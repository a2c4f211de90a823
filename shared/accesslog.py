"""What is remembered of every answered request: two metrics by route template, and one log line.

The line is made here, as JSON, rather than by structlog, and many are written at once: a service
that answers thousands of requests a second would otherwise spend a tenth of its time on them.
"""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.buckets import Buckets
from shared.loglines import LogLines

log = structlog.get_logger(__name__)

_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
#: Others are counted together.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Questions of supervisors and scrapers; their lines would be most of the log.
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
#: What a request is called that no route matched.
UNMATCHED: Final = "unmatched"


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json.dumps(text)


class _Kind:
    """What all requests with one method, route and status have in common."""

    __slots__ = ("count", "line", "seconds")

    def __init__(self, seconds: Buckets, line: str) -> None:
        self.count = 0
        self.seconds = seconds
        self.line = line
        """The line up to the seconds; empty where none is written."""


class _Requests(Collector):
    """The figures of all services of the process, for Prometheus."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str, str, str], _Kind] = {}
        self._seconds: dict[tuple[str, str], Buckets] = {}

    def kind_of(self, service: str, method: str, route: str, status: int) -> _Kind:
        """The figures of one kind of request; the same ones whoever asks."""
        key = (service, method, route, str(status))
        kind = self.kinds.get(key)
        if kind is None:
            members = {
                "service": service,
                "event": "request_answered",
                "level": "info",
                "method": method,
                "route": route,
                "status": status,
            }
            line = "" if route in _QUIET else f'{json.dumps(members)[:-1]}, "seconds": '
            seconds = self._seconds.setdefault((service, route), Buckets(_SECONDS))
            kind = self.kinds[key] = _Kind(seconds, line)
        return kind

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        requests = CounterMetricFamily(
            "vedette_requests",
            "Answered requests.",
            labels=["service", "method", "route", "status"],
        )
        seconds = HistogramMetricFamily(
            "vedette_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            labels=["service", "route"],
        )
        for labels, kind in list(self.kinds.items()):
            requests.add_metric(labels, kind.count)
        for where, buckets in list(self._seconds.items()):
            seconds.add_metric(where, *buckets.cumulative())
        yield from (requests, seconds)


_REQUESTS: Final = _Requests()
REGISTRY.register(_REQUESTS)


class AccessLog:
    """Counts the requests that one service answers, and tells of each."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._kinds: dict[tuple[str, str, int], _Kind] = {}
        self._root = logging.getLogger()
        self._second = 0
        self._stamp = ""

    def record(
        self,
        *,
        method: str,
        route: str,
        status: int,
        seconds: float,
        now: float,
        request_id: str,
        caller: str | None,
    ) -> None:
        """Remember one answered request; on the event loop.

        Args:
            method: as the client sent it; unknown ones are counted together.
            route: the template, never the path: metrics must not grow with what clients make up.
                Empty where no route matched.
            status: of the answer; 499 when the client left before it.
            seconds: from the request's head to the last byte of the answer.
            now: seconds since 1970.
            request_id: its id; letters, digits and hyphens.
            caller: the subject, if one was found.
        """
        kind = self._kinds.get((method, route, status)) or self._kind_of(method, route, status)
        kind.count += 1
        kind.seconds.add(seconds)
        if not kind.line or not self._root.isEnabledFor(logging.INFO):
            return
        lines = self._lines()
        if lines is None:
            # For a person at a terminal, in the form of the other lines.
            log.info(
                "request_answered",
                service=self._service,
                method=method if method in METHODS else "other",
                route=route or UNMATCHED,
                status=status,
                seconds=round(seconds, 4),
                caller=caller,
                request_id=request_id,
            )
            return
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        who = "null" if caller is None else _quoted(caller)
        lines.write_soon(
            f'{kind.line}{seconds:.4f}, "request_id": "{request_id}", "caller": {who}, '
            f'"timestamp": "{self._stamp}.{int((now - second) * 1e6):06d}Z"}}\n'
        )

    def flush(self) -> None:
        """Write the lines that wait."""
        lines = self._lines()
        if lines is not None:
            lines.flush()

    def _lines(self) -> LogLines | None:
        """Where lines may be written as they are; None where each is made for a person."""
        for handler in self._root.handlers:
            if isinstance(handler, LogLines):
                return handler
        return None

    def _kind_of(self, method: str, route: str, status: int) -> _Kind:
        method = method if method in METHODS else "other"
        kind = _REQUESTS.kind_of(self._service, method, route or UNMATCHED, status)
        self._kinds[method, route, status] = kind
        return kind
