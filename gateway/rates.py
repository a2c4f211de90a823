"""Rate limits: the generic cell rate algorithm, one number of memory per caller."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from gateway.bounded import BoundedMap
from gateway.route import Rate

_MAX_CALLERS: Final = 100_000

HeaderPair = tuple[bytes, bytes]


class Verdict(NamedTuple):
    """What one request found of its limit."""

    allowed: bool
    remaining: int
    reset_s: int
    """After so many seconds the whole quota is there again."""
    retry_after_s: float


class RateLimiter:
    """Remembers for every caller when its quota will be whole again.

    Source:
        ATM Forum, Traffic Management 4.0, 1996, the generic cell rate algorithm: a request moves
        the caller's theoretical arrival time by one interval, and is refused when that would lie
        further ahead than the quota allows.
    """

    def __init__(self, rate: Rate, scale: float) -> None:
        self.rate = rate
        self.quota = max(1, round(rate.quota * scale))
        self._interval_s = rate.window_s / self.quota
        self._tolerance_s = self._interval_s * self.quota + 1e-9
        self._whole_at: BoundedMap[str, float] = BoundedMap(_MAX_CALLERS)
        self.policy_header: HeaderPair = (
            b"ratelimit-policy",
            f'"{rate.name}";q={self.quota};w={rate.window_s}'.encode(),
        )
        self._prefix = f'"{rate.name}";r='

    def take(self, caller: str, now: float) -> Verdict:
        """Count one request of `caller` at `now`, seconds of a monotonic clock."""
        whole_at = self._whole_at.get(caller)
        if whole_at is None or whole_at < now:
            whole_at = now
        ahead_s = whole_at + self._interval_s - now
        if ahead_s > self._tolerance_s:
            return Verdict(False, 0, int(whole_at - now) + 1, ahead_s - self._tolerance_s)
        self._whole_at.put(caller, now + ahead_s)
        remaining = int((self._tolerance_s - ahead_s) / self._interval_s)
        return Verdict(True, remaining, int(ahead_s) + 1, 0.0)

    def header(self, verdict: Verdict) -> HeaderPair:
        """The `RateLimit` header (IETF draft-ietf-httpapi-ratelimit-headers, September 2025)."""
        text = f"{self._prefix}{verdict.remaining};t={verdict.reset_s}"
        return (b"ratelimit", text.encode())


class RateLimits:
    """One limiter for every rate in the policy, or none when they are switched off."""

    def __init__(self, rates: Iterable[Rate], scale: float) -> None:
        self._limiters = {rate: RateLimiter(rate, scale) for rate in rates} if scale > 0 else {}

    def limiter(self, rate: Rate) -> RateLimiter | None:
        """The limiter of `rate`; None when limits are off."""
        return self._limiters.get(rate)


def address_key(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 an IPv6 subscriber is given."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.split("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
