"""What watches an upstream's deadlines rests while there is nothing to watch."""

import asyncio

import pytest

from gateway import upstream as upstreams
from gateway.upstream import Upstream


async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after a while."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.2)
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await reader.read()
    writer.close()


async def test_an_upstream_that_nobody_asks_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "_SWEEP_S", 0.01)
    server = await asyncio.start_server(answer_slowly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream("scancer", f"http://127.0.0.1:{port}")
    looks: list[float] = []

    def look() -> float:
        looks.append(upstream.loop.time())
        return looks[-1]

    upstream.start()
    await asyncio.sleep(0.05)
    upstream.time = look
    await asyncio.sleep(0.2)
    assert looks == []

    # Asked, it watches; afterwards it rests again.
    connection = await upstream.open()
    connection.ask(
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"", is_head=False, now=upstream.loop.time()
    )
    await connection.wait_started()
    assert len(looks) > 5
    connection.release()
    await asyncio.sleep(0.05)
    looks.clear()
    await asyncio.sleep(0.2)
    assert looks == []

    await upstream.close()
    server.close()
    await server.wait_closed()
