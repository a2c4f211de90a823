"""Whether an address is this machine's own."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or an address that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
