"""What is remembered of every answered request: two metrics by route template, and one log line.

The line is made here, as JSON, rather than by structlog, and many are written at once: a service
that answers thousands of requests a second would otherwise spend a tenth of its time on them.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter, Histogram

from shared.loglines import LogLines

log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "vedette_requests_total", "Answered requests.", ["service", "method", "route", "status"]
)
SECONDS = Histogram(
    "vedette_request_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
#: Others are counted together.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Questions of supervisors and scrapers; their lines would be most of the log.
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
#: What a request is called that no route matched.
UNMATCHED: Final = "unmatched"


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json.dumps(text)


class _Kind(NamedTuple):
    """What all requests with one method, route and status have in common."""

    count_one: Callable[[], None]
    observe: Callable[[float], None]
    line: str
    """The line up to the seconds; empty where none is written."""


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
        """Remember one answered request.

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
        kind.count_one()
        kind.observe(seconds)
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
        known = self._kinds.get((method, route, status))
        if known is not None:
            return known
        shown = route or UNMATCHED
        members = {
            "service": self._service,
            "event": "request_answered",
            "level": "info",
            "method": method,
            "route": shown,
            "status": status,
        }
        kind = self._kinds[method, route, status] = _Kind(
            count_one=REQUESTS.labels(self._service, method, shown, str(status)).inc,
            observe=SECONDS.labels(self._service, shown).observe,
            line="" if route in _QUIET else f'{json.dumps(members)[:-1]}, "seconds": ',
        )
        return kind
