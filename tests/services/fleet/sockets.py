"""A WebSocket with next to nothing around it, on the namespace or before it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.services.fleet.support import Mine

EIO4 = "/socket.io/?EIO=4&transport=websocket"


@contextlib.asynccontextmanager
async def raw_socket(mine: Mine, **options: Any) -> AsyncIterator[ClientConnection]:
    """A WebSocket past the Engine.IO handshake."""
    async with connect(f"ws{mine.url[4:]}{EIO4}", proxy=None, **options) as connection:
        opened = str(await connection.recv())
        assert opened.startswith("0{")
        yield connection


async def join(connection: ClientConnection, auth: object = None) -> str:
    """Join the namespace, with a token or without; the server's answer."""
    shown = "" if auth is None else json.dumps(auth)
    await connection.send(f"40/alert,{shown}")
    return str(await heard(connection, "4"))


async def heard(connection: ClientConnection, prefix: str, within_s: float = 10) -> str:
    """The next packet that begins so; pings are answered meanwhile."""
    async with asyncio.timeout(within_s):
        async for message in connection:
            if message == "2":
                await connection.send("3")
            elif str(message).startswith(prefix):
                return str(message)
    raise ConnectionResetError
