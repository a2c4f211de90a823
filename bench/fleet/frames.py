"""Sends frames over connections that stay open, with next to no work per request."""

import asyncio
import base64
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

#: A JPEG comment in front makes each picture one of its own; 3 x 16 bytes are whole base64 digits.
_HEAD_BYTES: Final = 48


@dataclass(slots=True)
class Result:
    """What a load did."""

    stored: int = 0
    failed: int = 0
    seconds: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        """The wait that one frame in a hundred exceeds."""
        waits = sorted(self.waits_s) or [0.0]
        return 1000 * waits[int(len(waits) * 0.99)]


def picture(size_bytes: int) -> bytes:
    """Bytes that begin as a JPEG does; nothing decodes them here."""
    return b"\xff\xd8" + os.urandom(size_bytes - 2)


def _head() -> bytes:
    comment = os.urandom(_HEAD_BYTES - 6)
    return b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment


def raw_requests(path: str, assertion: str, body: bytes) -> Iterator[bytes]:
    """Requests of the modern API, each with a picture of its own."""
    tail = body[_HEAD_BYTES:]
    for seq in itertools.count(1):
        head = (
            f"POST {path}?seq={seq} HTTP/1.1\r\nHost: x\r\nVedette-Assertion: {assertion}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + _head() + tail


def base64_requests(
    path: str, assertion: str, token: str, alert: int, body: bytes
) -> Iterator[bytes]:
    """Requests of the old wire, each with a picture of its own as Python prints base64."""
    tail = base64.b64encode(body[_HEAD_BYTES:])
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    for index in itertools.count(1):
        told = (
            f'{{"token": "{token}", "alert_id": {alert}, "frame_timestamp": "{at}",'
            f' "frame_index": {index:09d}, "frame": "b\''.replace(
                f"{index:09d}", str(10**8 + index)
            )
        ).encode()
        content = told + base64.b64encode(_head()) + tail + b"'\"}"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nVedette-Assertion: {assertion}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        yield head.encode() + content


async def send(
    port: int, requests: list[Iterator[bytes]], seconds: float, good: Callable[[bytes], bool]
) -> Result:
    """Send each source's requests one after the other, all sources at once."""
    result = Result()
    begun = time.perf_counter()
    until = begun + seconds

    async def one(source: Iterator[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            while (now := time.perf_counter()) < until:
                writer.write(next(source))
                head = await reader.readuntil(b"\r\n\r\n")
                lowered = head.lower()
                at = lowered.index(b"content-length:") + 15
                await reader.readexactly(int(lowered[at : lowered.index(b"\r\n", at)]))
                result.waits_s.append(time.perf_counter() - now)
                if good(head):
                    result.stored += 1
                else:
                    result.failed += 1
        finally:
            writer.close()

    await asyncio.gather(*(one(source) for source in requests))
    result.seconds = time.perf_counter() - begun
    return result
