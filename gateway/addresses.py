"""Which address a request comes from: the peer's, unless the peer is a proxy that one trusts."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

HeaderPair = tuple[bytes, bytes]

_MAX_HOPS: Final = 16
UNKNOWN: Final = "unknown"


class Addresses:
    """Believes `X-Forwarded-For` from the proxies it was told of, and from nobody else."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(network) for network in trusted_proxies)

    def find(self, client: tuple[str, int] | None, headers: Iterable[HeaderPair]) -> str:
        """The address of whoever sent a request.

        Proxies append what they see, so the list is read from its end: the first address that is
        not a trusted proxy's is the client's, and whatever stands before it anybody can write.
        """
        if client is None:
            return UNKNOWN
        if not self._trusted or not self._trusts(client[0]):
            return client[0]
        forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        nearest = client[0]
        for hop in reversed(forwarded.decode("latin-1").split(",")[-_MAX_HOPS:]):
            address = _read(hop)
            if address is None:
                break
            nearest = str(address)
            if not self._trusts(nearest):
                break
        return nearest

    def _trusts(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._trusted)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip())
    except ValueError:
        return None
