"""The processes that answer for one service, and which of them gets a request."""

import re
from collections.abc import Sequence
from typing import Final

from gateway.route import Route
from gateway.upstream import Upstream

#: A live connection's id ends with the place of the process that keeps it (fleet's `engine4`).
_place_in: Final = re.compile(rb"(?:^|&)sid=[^&]*\.([0-9]{1,3})(?:&|$)").search


class Replicas:
    """One or more processes of a service."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.all = tuple(upstreams)

    def choose(self, route: Route, query: bytes) -> Upstream:
        """Who keeps the connection that the request belongs to, else who has least to do."""
        if len(self.all) == 1:
            return self.all[0]
        if route.websocket and (found := _place_in(query)) is not None:
            return self.all[int(found[1]) % len(self.all)]
        # A process whose breaker is open gets nothing while another one lives.
        return min(self.all, key=lambda upstream: (upstream.breaker.is_open, upstream.in_flight))
