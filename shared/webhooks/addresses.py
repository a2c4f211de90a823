"""Where a webhook may be sent: never to this machine, its network, or a cloud's metadata.

A name is resolved once, every address of it is judged, and the connection goes to the address that
was judged, so that a name which changes between the look and the call gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
#: The addresses of a host's name.
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_MOST_URL_CHARACTERS: Final = 2048
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
#: IPv4 addresses as a translating network spells them (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
#: Assigned to protocols (RFC 6890), one cloud's metadata at 192.0.0.192 among them; Python's lists
#: of special addresses differ from release to release.
_PROTOCOLS: Final = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("fec0::/10"),
)
_RESOLVE_TIMEOUT_S: Final = 5.0


class AddressRefused(Exception):
    """This address gets no webhook; the text says why and is meant for the endpoint's owner."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was judged, and the one address that a connection may go to."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    address: Address

    @property
    def host_header(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def pinned_url(self) -> str:
        """The URL with the address in place of the name."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.scheme}://{host}:{self.port}{self.path}"


async def resolve_by_system(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver."""
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError) as error:
        raise AddressRefused("The host's name cannot be resolved.") from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


class Guard:
    """Judges addresses by one rule for all."""

    def __init__(self, allowed: Iterable[str] = (), resolve: Resolve = resolve_by_system) -> None:
        """Prepare.

        Args:
            allowed: host names, addresses and networks (`10.1.0.0/16`) that may be called although
                they are not public; only these may be called without encryption.
            resolve: finds addresses.
        """
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        self._resolve = resolve
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._hosts.add(entry.lower().rstrip("."))

    def judge_form(self, url: str) -> tuple[str, str, int, str]:
        """Scheme, host, port and path of a URL that has the right form; looks nothing up.

        Raises:
            AddressRefused: it has not.
        """
        if len(url) > _MOST_URL_CHARACTERS or not url.isascii() or not url.isprintable():
            raise AddressRefused("The address is longer than 2,048 characters or not plain ASCII.")
        if " " in url or "\\" in url:
            raise AddressRefused("The address holds a space or a backslash.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise AddressRefused("The address cannot be read.") from error
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise AddressRefused("The address must begin with https:// and name a host.")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise AddressRefused("The address must hold no credential and no fragment.")
        path = parts.path or "/"
        return (
            parts.scheme,
            host,
            port or _DEFAULT_PORTS[parts.scheme],
            f"{path}?{parts.query}" if parts.query else path,
        )

    async def judge(self, url: str) -> Target:
        """The target of a URL.

        Raises:
            AddressRefused: it has not the right form, or leads where no webhook may go.
        """
        scheme, host, port, path = self.judge_form(url)
        addresses = await self._addresses(host, port)
        if not addresses:
            raise AddressRefused("The host's name has no address.")
        named = host.lower() in self._hosts
        for address in addresses:
            # One bad address refuses the name: which of them is called would be left to chance.
            if not named and not self._is_listed(address):
                if not is_public(address):
                    raise AddressRefused("The host's address is not a public one.")
                if scheme != "https":
                    raise AddressRefused("A public address is called by https alone.")
        return Target(scheme, host, port, path, addresses[0])

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        if host.replace(".", "").isdigit() or host.lower().startswith("0x"):
            # Resolvers read 2130706433 and 0x7f.1 as addresses; no public host is called so.
            raise AddressRefused("The host is an address in an unusual spelling.")
        return await self._resolve(host, port)

    def _is_listed(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )


def is_public(address: Address) -> bool:
    """Whether an address, or the one that is packed inside it, belongs to the public internet."""
    if isinstance(address, IPv6Address):
        packed = address.ipv4_mapped or address.sixtofour
        if packed is None and address in _NAT64:
            packed = IPv4Address(int(address) & 0xFFFF_FFFF)
        if packed is None and address.teredo is not None:
            packed = address.teredo[1]
        if packed is not None:
            return is_public(packed)
    if any(address.version == network.version and address in network for network in _PROTOCOLS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
