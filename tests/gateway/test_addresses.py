"""Whose address counts: limits and audit records depend on it, so nobody may choose it."""

import pytest

from gateway.addresses import Addresses
from gateway.settings import GatewaySettings

PROXY = ("10.0.0.1", 5000)


def _forwarded(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value) for value in values]


def test_by_default_nobody_is_believed() -> None:
    for peer in ("127.0.0.1", "10.0.0.1", "::1"):
        assert Addresses().find((peer, 1), _forwarded(b"192.0.2.1")) == peer


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ((b"192.0.2.1",), "192.0.2.1"),
        ((b"198.51.100.7, 192.0.2.1",), "192.0.2.1"),
        ((b"198.51.100.7", b"192.0.2.1"), "192.0.2.1"),
        ((b"192.0.2.1, 10.0.0.9",), "192.0.2.1"),
        ((b"10.0.0.8, 10.0.0.9",), "10.0.0.8"),
        ((b"192.0.2.1, nonsense",), "10.0.0.1"),
        ((b"2001:db8::1",), "2001:db8::1"),
        ((b"",), "10.0.0.1"),
        ((), "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_the_last_address_that_is_not_its_own(
    values: tuple[bytes, ...], address: str
) -> None:
    """What stands before it was written by the client."""
    assert Addresses(["10.0.0.0/8"]).find(PROXY, _forwarded(*values)) == address


def test_another_peer_is_not_believed() -> None:
    found = Addresses(["10.0.0.0/8"]).find(("203.0.113.5", 1), _forwarded(b"192.0.2.1"))

    assert found == "203.0.113.5"


def test_a_misspelt_network_stops_the_process() -> None:
    with pytest.raises(ValueError, match="gateway_trusted_proxies"):
        GatewaySettings(gateway_trusted_proxies=("10.0.0.0/99",))
