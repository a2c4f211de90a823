"""A row of the policy: a path, who answers it, and what a caller must bring."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from gateway.settings import MB
from shared.settings import ServiceName

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
READS = frozenset({"GET", "HEAD"})


class Accepted(StrEnum):
    """A kind of credential that a route looks at; any other is as good as none."""

    ACCESS = "access"
    """`Authorization: Bearer` with an access token of the modern API."""
    API_KEY = "api-key"
    """`Authorization: Bearer vdt_…`."""
    LEGACY = "legacy"
    """`Authorization: Token` with a token that was minted for this old API."""
    BASIC = "basic"
    """`Authorization: Basic` with an account's name and password."""
    DEVICE = "device"
    """`Authorization: Bearer` with a device's token."""
    QUERY = "query"
    """`?token=` with a token of this old API; taken out before the request is forwarded."""


@dataclass(frozen=True, slots=True, eq=False)
class Rate:
    """At most `quota` requests per `window_s` seconds, all of which may come at once."""

    name: str
    quota: int
    window_s: int
    by: Literal["subject", "address"] = "subject"


#: Everything that has no row of its own: per subject, or per address for who shows no credential.
DEFAULT_RATE = Rate("default", quota=100, window_s=1)

Scopes = Mapping[str, str]


def scopes_of(service: str) -> Scopes:
    """Reading needs `<service>:read`, everything else `<service>:write`."""
    return {
        method: f"{service}:{'read' if method in READS else 'write'}"
        for method in METHODS - {"OPTIONS"}
    }


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One row: a path, who answers it, and what a caller must bring."""

    path: str
    """`{x}` stands for one segment; a last `**` for one or more, none of them empty."""
    service: ServiceName | Literal["gateway"]
    accepts: frozenset[Accepted] = frozenset()
    needs_credential: bool = False
    scopes: Scopes = field(default_factory=dict)
    """The scope that a method needs."""
    methods: frozenset[str] = METHODS
    max_body_bytes: int = 1 * MB
    rate: Rate = DEFAULT_RATE
    write_rate: Rate | None = None
    """For methods other than GET and HEAD, where it differs."""
    deadline_s: float = 30
    """From the last byte of the request to the first byte of the answer."""
    refused_by: Literal["gateway", "service"] = "gateway"
    """Who tells a client that its credential, its method or its preflight is not good.

    Old wires have their own words for it, so there the service answers.
    """
    throttled: Callable[[int], Mapping[str, object]] | None = None
    """The body in which an old wire tells the gateway's own limit, given the seconds to wait."""
    refused: Callable[[int], Mapping[str, object]] | None = None
    """The body in which an old wire tells any other refusal of the gateway, given its status.

    Empty where it had no words at all.
    """
    legacy_audience: str | None = None
    """The old API whose tokens `legacy` and `query` mean."""
    websocket: bool = False
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        segments = tuple(self.path.split("/")[1:])
        if not self.path.startswith("/") or "**" in segments[:-1]:
            raise ValueError(f"{self.path} is not a route's path")
        object.__setattr__(self, "segments", segments)

    @property
    def allow(self) -> str:
        """The value of an `Allow` header."""
        return ", ".join(sorted(self.methods))


#: What routes of the modern API look at.
MODERN = frozenset({Accepted.ACCESS, Accepted.API_KEY})
