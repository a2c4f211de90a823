"""Two questions to a port: is it free, and is the platform ready behind it."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping

_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 (recognised, not listened on)


def reachable_host(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    return "127.0.0.1" if host in _WILDCARDS else host


def base_url(host: str, port: int) -> str:
    """The address to show and to ask."""
    host = reachable_host(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def taken_ports(places: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """Which programs would find their port taken, and the port."""
    taken: dict[str, int] = {}
    for name, (host, port) in places.items():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As uvicorn does it: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError:
                taken[name] = port
    return taken


async def http_status(host: str, port: int, path: str, *, timeout_s: float = 3.0) -> int | None:
    """The status with which `path` is answered, None when nobody answers in time."""
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(reachable_host(host), port)
            try:
                authority = base_url(host, port).removeprefix("http://")
                head = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
                return int((await reader.readline()).split()[1])
            finally:
                writer.close()
    return None
