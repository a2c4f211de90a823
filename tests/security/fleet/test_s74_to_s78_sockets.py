"""Attacks 74 to 78: sockets without rights, floods, bombs, and clients that do not read."""

import asyncio
import contextlib
import json
import os
import socket
from datetime import UTC, datetime

import httpx
import psutil
import pytest
from sqlalchemy import text
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.fleet.domain import Event, Role, TruckId, UserId, Viewer, new_id
from services.fleet.realtime.hub import MAX_QUEUED, Hub
from services.fleet.realtime.limits import MESSAGES_AT_ONCE, Places
from services.fleet.repositories.events import CHANNEL
from shared.assertions import ANONYMOUS
from shared.db import create_engine
from shared.tokens import TokenType
from tests.forging import claims_of
from tests.services.fleet.sockets import EIO4, heard, join, raw_socket
from tests.services.fleet.support import Mine, Person

EIO3 = "/socket.io/?EIO=3&transport=polling"


async def is_ended(connection: ClientConnection, within_s: float = 15) -> bool:
    """Whether the server ends the connection in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    if await connection.recv() == "2":
                        await connection.send("3")
            return True
    return False


@pytest.mark.parametrize(
    "auth",
    [
        {"token": "x"},
        {"token": 7},
        {"t": 1},
        [1],
        "text",
        {"token": "a.b.c"},
        {"token": "x" * 9000},
    ],
)
async def test_s74_a_bad_token_is_refused(mine: Mine, auth: object) -> None:
    async with raw_socket(mine) as connection:
        assert (await join(connection, auth)).startswith("44/alert,")


async def test_s74_a_devices_token_and_one_of_no_rights_are_refused(
    mine: Mine, admin: Person
) -> None:
    device, truck = await mine.enrolled(admin), await mine.truck()
    nobody = await mine.person(admin, "Unauthorized")
    for token in (device.access, truck.token, nobody.token, nobody.access):
        async with raw_socket(mine) as connection:
            assert (await join(connection, {"token": token})).startswith("44/alert,")


async def test_s74_get_alert_with_a_bad_token_is_answered_with_silence(
    mine: Mine, admin: Person
) -> None:
    """As the original did; and nothing is heard afterwards either."""
    async with raw_socket(mine) as connection:
        assert (await join(connection)).startswith("40/alert")
        await connection.send('42/alert,["get_alert",{"username":"a","token":"bad"}]')
        await mine.alert(await mine.truck())
        # A good token afterwards is answered first of all: nothing was waiting.
        shown = json.dumps(["get_alert", {"token": admin.token}])
        await connection.send(f"42/alert,{shown}")
        assert "my_response" in await heard(connection, "42/alert,")


async def test_s74_two_people_hear_of_their_own_trucks_alone(mine: Mine, admin: Person) -> None:
    own, foreign = await mine.truck(), await mine.truck()
    person, other = (
        await mine.person(admin, "Limited", own),
        await mine.person(admin, "Limited", foreign),
    )
    async with raw_socket(mine) as ours, raw_socket(mine) as theirs:
        for connection, who in ((ours, person), (theirs, other)):
            await join(connection, {"token": who.token})
            await heard(connection, '42/alert,["my_response"')
        numbers = [await mine.alert(foreign), await mine.alert(own)]
        first = json.loads((await heard(ours, '42/alert,["an_alert"'))[9:])[1]
        second = json.loads((await heard(theirs, '42/alert,["an_alert"'))[9:])[1]

    assert (first["truck_id"], first["alert_id"]) == (own.id, numbers[1])
    assert (second["truck_id"], second["alert_id"]) == (foreign.id, numbers[0])


async def test_s74_rights_that_change_are_felt_by_an_open_socket(mine: Mine, admin: Person) -> None:
    """A grant that is taken away silences it, one that is given is heard, the last role ends it."""
    one, two = await mine.truck(), await mine.truck()
    person = await mine.person(admin, "Limited", one)
    ids = [await mine.truck_uuid(admin, truck) for truck in (one, two)]
    path = f"members/{person.id}/trucks"
    async with raw_socket(mine) as connection:
        await join(connection, {"token": person.token})
        await heard(connection, '42/alert,["my_response"')
        await mine.modern("DELETE", f"{path}/{ids[0]}", headers=admin.headers)
        await mine.modern("PUT", f"{path}/{ids[1]}", json={}, headers=admin.headers)
        # The announcement of the change and the alerts take two ways; ask until it is felt.
        async with asyncio.timeout(10):
            while True:
                await mine.alert(one)
                number = await mine.alert(two, "Unsafe")
                with contextlib.suppress(TimeoutError):
                    notice = await heard(connection, '42/alert,["an_alert"', 1)
                    if json.loads(notice[9:])[1]["truck_id"] == two.id:
                        break
        assert number
        role = {"username": person.username, "role": "Unauthorized"}
        await mine.modern("PUT", f"members/{person.id}", json=role, headers=admin.headers)
        assert await is_ended(connection)


async def test_s23_and_s74_a_disabled_accounts_sockets_end(mine: Mine, admin: Person) -> None:
    person = await mine.person(admin, "Full")
    async with raw_socket(mine) as connection:
        await join(connection, {"token": person.token})
        await heard(connection, '42/alert,["my_response"')
        await mine.http.patch(
            f"/api/v2/auth/users/{person.id}", json={"disabled": True}, headers=admin.headers
        )
        assert await is_ended(connection)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
async def test_s75_a_page_of_a_foreign_origin_gets_no_socket(mine: Mine, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with raw_socket(mine, additional_headers={"Origin": origin}):
            pass
    polled = [
        await mine.http.get(url, headers={"Origin": origin})
        for url in (EIO3, EIO3.replace("EIO=3", "EIO=4"))
    ]

    assert refused.value.response.status_code == 403
    assert [answer.status_code for answer in polled] == [403, 403]
    assert "access-control-allow-origin" not in polled[0].headers


async def test_s76_a_flood_of_events_ends_the_connection(mine: Mine, admin: Person) -> None:
    async with raw_socket(mine) as connection:
        await join(connection, {"token": admin.token})
        with contextlib.suppress(ConnectionClosed):
            for _ in range(3 * MESSAGES_AT_ONCE):
                await connection.send('42/alert,["x"]')
        assert await is_ended(connection)


@pytest.mark.parametrize(
    "packet",
    [
        '451-/alert,["get_alert",{"_placeholder":true,"num":0}]',
        "45999999999-/alert,[]",
        "42/alert," + "[" * 5000,
        "42/alert,{",
        "49/alert,[]",
        b"binary",
        "4" + "x" * 20_000,
    ],
)
async def test_s76_bombs_and_garbage_end_the_connection_and_nothing_else(
    mine: Mine, packet: str | bytes
) -> None:
    async with raw_socket(mine) as connection:
        await join(connection)
        await connection.send(packet)
        assert await is_ended(connection)
    assert (await mine.old("GET", "logout/")).status_code == 200


async def test_s76_a_spray_of_namespaces_is_refused_and_bounded(mine: Mine) -> None:
    async with raw_socket(mine) as connection:
        await connection.send("40/somewhere-else,")
        assert (await heard(connection, "4")).startswith("44/somewhere-else,")
        with contextlib.suppress(ConnectionClosed):
            for number in range(3 * MESSAGES_AT_ONCE):
                await connection.send(f"40/space-{number},")
        assert await is_ended(connection)


async def test_s76_a_large_post_to_a_polling_connection_ends_it(mine: Mine) -> None:
    opened = await mine.http.get(EIO3)
    sid = json.loads(opened.text[opened.text.index("{") : opened.text.index("}") + 1])["sid"]
    statuses = [
        (await mine.http.post(f"{EIO3}&sid={sid}", content=content)).status_code
        for content in (b"1:2" * 20_000, b"1:2")
    ]

    assert statuses[0] in (400, 413)
    assert statuses[1] == 400


def test_s76_places_are_limited_altogether_and_by_address() -> None:
    places = Places(3, 2)

    assert [places.take(address) for address in ("a", "a", "a", "b", "c")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    places.give_back("a")
    assert places.take("c")


async def test_s77_what_travels_by_notify_is_a_number(mine: Mine) -> None:
    """Whoever could write to the channel could make a process read events, and nothing more."""
    engine = create_engine(mine.database_url)
    async with engine.begin() as connection:
        for payload in ("", "cos\nsystem\n(S'true'\ntR.", "{}", "x" * 7000):
            await connection.execute(
                text("SELECT pg_notify(:channel, :payload)"),
                {"channel": CHANNEL, "payload": payload},
            )
    await engine.dispose()
    assert (await mine.old("GET", "logout/")).status_code == 200


class Deaf:
    """A client that takes so much and then nothing."""

    def __init__(self) -> None:
        self.taken = 0
        self.is_cut = False

    def push(self, _: str) -> bool:
        """Take what fits."""
        self.taken += 1
        return self.taken <= MAX_QUEUED

    def cut(self) -> None:
        """Be ended."""
        self.is_cut = True


async def test_s78_who_does_not_take_its_notices_is_dropped_and_others_are_not() -> None:
    hub, deaf, good = Hub(), Deaf(), Deaf()
    viewer = Viewer(UserId(new_id()), "a", Role.FULL, frozenset({"fleet:read"}))
    claims = claims_of(TokenType.LEGACY)
    for client in (deaf, good):
        hub.release(hub.join(client, viewer, claims, wants_all=True), [])
    deaf.taken = MAX_QUEUED - 1
    truck = TruckId(new_id())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    await hub.publish(Event(number, "device.enabled", now, truck, None, {}) for number in (1, 2, 3))

    assert (deaf.is_cut, good.is_cut) == (True, False)
    assert good.taken == 3
    assert [member.transport for member in hub.members] == [good]


async def test_s78_a_client_that_stops_reading_costs_little_and_is_cut(
    mine: Mine, admin: Person
) -> None:
    """Straight at fleet's port: what waits for it is bounded by packets and by its TCP window."""
    person = await mine.person(admin, "Full")
    caller = mine.direct(ANONYMOUS)
    with socket.create_connection(("127.0.0.1", int(mine.fleet_url.rsplit(":", 1)[1]))) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        [(name, value)] = caller.items()
        stalled.sendall(
            f"GET {EIO4} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{name}: {value}\r\n\r\n".encode()
        )
        shown = json.dumps({"token": person.token})
        stalled.sendall(_frame(f"40/alert,{shown}"))
        before = psutil.Process(os.getpid()).memory_info().rss
        engine = create_engine(mine.database_url)
        filler = "x" * 2000
        truck_id = await mine.truck_uuid(admin, await mine.truck())
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO fleet.events (type, truck_id, data)"
                    " SELECT 'test.filler', CAST(:truck AS uuid),"
                    " jsonb_build_object('filler', CAST(:filler AS text))"
                    " FROM generate_series(1, 4000)"
                ),
                {"truck": truck_id, "filler": filler},
            )
            await connection.execute(text("SELECT pg_notify(:c, '')"), {"c": CHANNEL})
        await engine.dispose()
        async with asyncio.timeout(20):
            while "slow" not in await _drop_reasons(mine):
                await asyncio.sleep(0.05)
        grown = psutil.Process(os.getpid()).memory_info().rss - before

    assert grown < 40_000_000  # of which the reading of 8 MB of events is the most


def _frame(payload: str) -> bytes:
    """A masked WebSocket text frame below 64 KB."""
    data = payload.encode()
    head = b"\x81" + (b"\xfe" + len(data).to_bytes(2, "big"))
    return head + bytes(4) + data


async def _drop_reasons(mine: Mine) -> str:
    answer = await mine.http.get(f"{mine.fleet_url}/metrics", headers=mine.direct(ANONYMOUS))
    lines = [
        line for line in answer.text.splitlines() if line.startswith("vedette_fleet_dropped_total{")
    ]
    return " ".join(line for line in lines if not line.endswith(" 0.0"))


async def test_s74_an_unknown_session_is_refused_on_both_engines(mine: Mine) -> None:
    answers: list[httpx.Response] = [
        await mine.http.get(f"/socket.io/?EIO={version}&transport=polling&sid=made-up.0")
        for version in (3, 4)
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
