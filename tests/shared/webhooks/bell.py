"""A service that only has webhooks, and a receiver that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase

from shared.webhooks import (
    DeliveryColumns,
    EndpointColumns,
    Webhooks,
    delivery_indexes,
    endpoint_indexes,
)

SCHEMA = "bell"
MIGRATIONS = Path(__file__).parent / "migrations"


class Base(DeclarativeBase):
    """The registry of the bell's tables."""


class WebhookRow(EndpointColumns, Base):
    """Whom to tell."""

    __tablename__ = "webhooks"
    __table_args__ = (*endpoint_indexes("webhooks"), {"schema": SCHEMA})


class WebhookDeliveryRow(DeliveryColumns, Base):
    """What to tell."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (*delivery_indexes("webhook_deliveries"), {"schema": SCHEMA})


BELL = Webhooks(WebhookRow, WebhookDeliveryRow)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server on loopback that keeps what it gets."""

    answers: list[bytes] = field(default_factory=list)
    """What it answers to one request after the other; afterwards 200."""
    received: "asyncio.Queue[Received]" = field(default_factory=asyncio.Queue)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            writer.write(self.answers.pop(0) if self.answers else OK)
            self.received.put_nowait(Received(head[0], headers, body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def next(self) -> Received:
        """The next request."""
        return await asyncio.wait_for(self.received.get(), 20)


@asynccontextmanager
async def receiving(answers: Iterable[bytes] = ()) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(list(answers))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


async def eventually(ask: Callable[[], Awaitable[object]], *, equals: object) -> None:
    """Ask again until the answer is the expected one."""
    async with asyncio.timeout(20):
        while await ask() != equals:
            await asyncio.sleep(0.01)
