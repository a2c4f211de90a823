"""Which Host headers are answered: names this server was given, and nothing that merely parses."""

import re
from collections.abc import Iterable

from gateway.bounded import BoundedMap
from gateway.errors import MisdirectedRequest, RefusedRequest

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_authority = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
).fullmatch


class HostPolicy:
    """Answers for the loopback names, the listening host and the names it was given."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in (*_LOOPBACK, *names))
        self._known: BoundedMap[bytes, bool] = BoundedMap(64)

    def check(self, host: bytes) -> None:
        """Let a Host header pass that names this server.

        Raises:
            RefusedRequest: it is not a host with an optional port.
            MisdirectedRequest: it names another server.
        """
        if self._known.get(host):
            return
        parts = _authority(host.decode("latin-1").lower())
        if parts is None or int(parts["port"] or 1) not in range(1, 65_536):
            raise RefusedRequest("The Host header is not a host name with an optional port.")
        if "*" not in self._names and parts["name"] not in self._names:
            raise MisdirectedRequest("This server does not answer for that host name.")
        self._known.put(host, True)
