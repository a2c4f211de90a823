"""WebSockets through the gateway: both ways, and no longer than the credential lives."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.assertions import Refusal
from tests.gateway.support import Rig, access_token, rig


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that checks open sockets often."""
    with rig(
        tmp_path_factory.mktemp("keys"), rate_limit_scale=1000, gateway_websocket_check_s=0.1
    ) as running:
        yield running


async def _open(
    gateway: Rig, path: str, token: str | None = None, origin: str | None = None
) -> ClientConnection:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if origin is not None:
        headers["Origin"] = origin
    return await connect(
        f"ws://127.0.0.1:{gateway.port}{path}", additional_headers=headers, proxy=None
    )


async def test_messages_pass_both_ways(gateway: Rig) -> None:
    async with await _open(gateway, "/socket/x", access_token()) as connection:
        await connection.send("text")
        await connection.send(b"\x00\xff")

        assert await connection.recv() == "text"
        assert await connection.recv() == b"\x00\xff"


async def test_the_services_closing_code_reaches_the_client(gateway: Rig) -> None:
    async with await _open(gateway, "/open-socket/x") as connection:
        await connection.send("close")
        with pytest.raises(ConnectionClosed):
            await connection.recv()

        assert (connection.close_code, connection.close_reason) == (4000, "asked to")


async def test_a_socket_needs_the_credential_of_its_row(gateway: Rig) -> None:
    for token in (None, "a.b.c"):
        with pytest.raises(InvalidStatus) as refused:
            await _open(gateway, "/socket/x", token)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["Content-Type"] == "application/problem+json"


async def test_a_path_without_a_socket_has_none(gateway: Rig) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await _open(gateway, "/open/x")

    assert refused.value.response.status_code == 400


async def test_a_services_refusal_is_passed_on_as_a_problem(gateway: Rig) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await _open(gateway, "/open-socket/refused")

    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil"])
async def test_s75_a_page_of_another_origin_opens_no_socket(gateway: Rig, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await _open(gateway, "/open-socket/x", origin=origin)

    assert refused.value.response.status_code == 403


async def test_s75_an_allowed_origin_opens_one(gateway: Rig) -> None:
    async with await _open(gateway, "/open-socket/x", origin="http://localhost:4200"):
        pass


async def test_s23_a_revocation_closes_open_sockets(gateway: Rig) -> None:
    async with await _open(gateway, "/socket/x", access_token(token_id="s23")) as connection:
        await connection.send("a")
        assert await connection.recv() == "a"
        gateway.revocations.revoked["s23"] = Refusal.REVOKED

        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 1)

        assert (connection.close_code, connection.close_reason) == (1008, "revoked")


async def test_s74_an_expired_token_closes_its_socket(gateway: Rig) -> None:
    now = int(time.time())
    token = access_token(token_id="s74", issued_at=now - 5, expires_at=now + 2)
    async with await _open(gateway, "/socket/x", token) as connection:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 5)

        assert (connection.close_code, connection.close_reason) == (1008, "expired")


async def test_s76_a_message_over_the_limit_ends_the_socket(gateway: Rig) -> None:
    async with await _open(gateway, "/open-socket/x") as connection:
        await connection.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await connection.recv()

        assert connection.close_code in (1001, 1009)


@pytest.mark.parametrize("path", ["/socket/x", "/open/x", "/nowhere", "/open-socket/refused"])
async def test_a_refused_handshake_is_no_error(
    gateway: Rig, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Any client could otherwise fill the log with lines that a person must look at."""
    with pytest.raises(InvalidStatus) as refused:
        await _open(gateway, path)
    await asyncio.to_thread(gateway.get, "/livez")

    answered = refused.value.response
    assert json.loads(answered.body or b"")["request_id"] == answered.headers["X-Request-ID"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_client_that_leaves_is_no_error(
    gateway: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = await _open(gateway, "/open-socket/x")
    for _ in range(50):
        await connection.send("x" * 10_000)
    connection.transport.abort()
    await asyncio.to_thread(gateway.get, "/livez")

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert "request_failed" not in capfd.readouterr().out


async def test_a_socket_has_one_request_id_on_every_side(gateway: Rig) -> None:
    asked = {"X-Request-ID": "mine-1"}
    url = f"ws://127.0.0.1:{gateway.port}/open-socket/x"
    async with connect(url, additional_headers=asked, proxy=None) as connection:
        assert connection.response is not None
        assert connection.response.headers.get_all("X-Request-ID") == ["mine-1"]
        assert gateway.last.all("x-request-id") == ["mine-1"]
