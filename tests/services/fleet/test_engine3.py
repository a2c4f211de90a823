"""Engine.IO 3 as the original page's client speaks it, to the byte."""

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.fleet.compat.engine3 import Malformed, read_payload
from tests.services.fleet.support import Mine, Person

URL = "/socket.io/?EIO=3&transport=polling"


def packets_of(text: str) -> list[str]:
    """The packets of a payload whose characters are all ASCII."""
    packets = []
    while text:
        length, _, rest = text.partition(":")
        packets.append(rest[: int(length)])
        text = rest[int(length) :]
    return packets


class OldClient:
    """A client that polls."""

    def __init__(self, http: httpx.AsyncClient, sid: str) -> None:
        self.http = http
        self.url = f"{URL}&sid={sid}"

    @classmethod
    async def connect(cls, http: httpx.AsyncClient, query: str = "&t=N1") -> "OldClient":
        """The handshake."""
        opened, joined = packets_of((await http.get(URL + query)).text)
        assert joined == "40"
        return cls(http, json.loads(opened[1:])["sid"])

    async def send(self, *packets: str) -> httpx.Response:
        """A payload."""
        text = "".join(f"{len(packet.encode('utf-16-le')) // 2}:{packet}" for packet in packets)
        return await self.http.post(self.url, content=text.encode())

    async def poll(self) -> list[str]:
        """What waits."""
        return packets_of((await self.http.get(self.url)).text)

    async def hear(self, token: str, **more: Any) -> list[str]:
        """Join the namespace and show a token; what the server says to both."""
        await self.send("40/alert,")
        joined = await self.poll()
        event = json.dumps(["get_alert", {"username": "a", "token": token, **more}])
        await self.send(f"42/alert,{event}")
        return joined + await self.poll()


async def test_q23_the_handshake_is_text_with_the_root_namespace_joined(mine: Mine) -> None:
    answer = await mine.http.get(URL + "&t=N1&b64=1")
    opened, joined = packets_of(answer.text)

    handshake = json.loads(opened[1:])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert opened[0] == "0"
    assert joined == "40"
    assert handshake.keys() == {"sid", "upgrades", "pingTimeout", "pingInterval"}
    assert handshake["upgrades"] == []
    assert re.fullmatch(r"[0-9a-f]{32}\.\d+", handshake["sid"])


@pytest.mark.parametrize("connect", ["40/alert,", "40/alert", "40/alert?token=x,"])
async def test_q23_the_namespace_is_joined_with_the_clients_final_comma_and_query(
    mine: Mine, connect: str
) -> None:
    client = await OldClient.connect(mine.http)
    answer = await client.send(connect)

    assert answer.text == "ok"
    assert await client.poll() == ["40/alert"]


async def test_the_whole_way_from_token_to_notice(mine: Mine, admin: Person) -> None:
    client = await OldClient.connect(mine.http)
    joined, added = await client.hear(admin.token)
    truck = await mine.truck()
    number = await mine.alert(truck)
    [notice] = await client.poll()

    assert joined == "40/alert"
    assert json.loads(added.removeprefix("42/alert,"))[1]["data"] == "Added!"
    name, data = json.loads(notice.removeprefix("42/alert,"))
    assert (name, data["data"]) == ("an_alert", "new_alert")
    assert (data["alert_id"], data["truck_id"], data["behavior"]) == (number, truck.id, "Tamper")


async def test_the_client_asks_whether_the_server_lives(mine: Mine) -> None:
    client = await OldClient.connect(mine.http)
    await client.send("2", "2probe")

    assert await client.poll() == ["3", "3probe"]


async def test_a_client_that_leaves_is_forgotten(mine: Mine, admin: Person) -> None:
    client = await OldClient.connect(mine.http)
    await client.hear(admin.token)
    await client.send("41/alert", "1")
    answer = await mine.http.get(client.url)

    assert answer.status_code == 400
    assert answer.json() == {"code": 1, "message": "Session ID unknown"}


async def test_lengths_count_utf16_units_as_javascript_does(mine: Mine, admin: Person) -> None:
    client = await OldClient.connect(mine.http)
    answers = await client.hear(admin.token, note="🚚 Grüße")

    assert json.loads(answers[-1].removeprefix("42/alert,"))[0] == "my_response"


@pytest.mark.parametrize(
    "query", ["EIO=3&transport=websocket", "EIO=3&transport=flash", "EIO=3&transport=polling&j=0"]
)
async def test_other_transports_are_unknown(mine: Mine, query: str) -> None:
    answer = await mine.http.get(f"/socket.io/?{query}")

    assert answer.status_code == 400
    assert answer.json() == {"code": 0, "message": "Transport unknown"}


@given(some.lists(some.text(min_size=1, max_size=40), min_size=1, max_size=16))
def test_a_payload_that_was_written_is_read(packets: list[str]) -> None:
    text = "".join(f"{len(packet.encode('utf-16-le')) // 2}:{packet}" for packet in packets)

    assert read_payload(text.encode()) == packets


@given(some.binary(max_size=64))
def test_any_bytes_are_a_payload_or_malformed(body: bytes) -> None:
    try:
        packets = read_payload(body)
    except Malformed:
        return
    assert all(packets)


@pytest.mark.parametrize("body", [b"5:ab", b"-1:a", b"0:", b"99999999999999999999:a", b":", b"1"])
def test_lengths_that_do_not_fit_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_payload(body)


@pytest.mark.parametrize("origin", ["http://localhost:4200", "http://127.0.0.1:8080"])
async def test_q24_pages_of_allowed_origins_are_answered_with_credentials(
    mine: Mine, origin: str
) -> None:
    """The old client's XHR always sends credentials, so that `*` would not do."""
    answer = await mine.http.get(URL, headers={"Origin": origin})

    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
