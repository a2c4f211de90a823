"""The genuine socket.io-client from npm, old and new, and the original page in a browser."""

import asyncio
import queue
from typing import Any

import pytest

from tests.browser import Browser
from tests.services.fleet.npm import node_client, package
from tests.services.fleet.support import Mine, Person

OLD, NEW = "2.2.0", "4"


@pytest.mark.parametrize(
    ("version", "options", "shows"),
    [
        (OLD, {}, "get_alert"),
        (NEW, {}, "get_alert"),
        (NEW, {"transports": ["polling"]}, "get_alert"),
        (NEW, {"transports": ["websocket"]}, "auth"),
        (NEW, {}, "auth"),
    ],
)
async def test_a_genuine_client_hears_of_a_new_alert(
    mine: Mine, admin: Person, version: str, options: dict[str, Any], shows: str
) -> None:
    hello = {"username": admin.username, "token": admin.token}
    if shows == "auth":
        options, hello = {**options, "auth": {"token": admin.access}}, {}
    with node_client(version, mine.url, options, hello) as client:
        added = await asyncio.to_thread(client.hear, "my_response")
        truck = await mine.truck()
        number = await mine.alert(truck, "Single Hand")
        notice = await asyncio.to_thread(client.hear, "an_alert")

    assert added["data"] == "Added!"
    assert notice["data"] == "new_alert"
    assert (notice["alert_id"], notice["truck_id"]) == (number, truck.id)


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_genuine_client_stays_past_its_heartbeats(
    mine: Mine, admin: Person, version: str
) -> None:
    """Without a heartbeat either side would end the connection after four seconds."""
    with node_client(version, mine.url, {}, {"token": admin.token}) as client:
        await asyncio.to_thread(client.hear, "my_response")
        truck = await mine.truck()
        with pytest.raises(queue.Empty):
            await asyncio.to_thread(client.hear, "disconnect", within_s=5)
        number = await mine.alert(truck)
        notice = await asyncio.to_thread(client.hear, "an_alert")

    assert notice["alert_id"] == number


async def test_a_genuine_client_with_a_bad_token_is_told(mine: Mine) -> None:
    with node_client(NEW, mine.url, {"auth": {"token": "bad"}}, None) as client:
        refusal = await asyncio.to_thread(client.hear, "connect_error")

    assert refusal == "The token is not accepted."


#: The page of the original README, but for the library, which it loads from elsewhere.
_SNIPPET = """
    window.heard = [];
    var token = '%s';
    var socket = io.connect('http://' + document.domain + ':' + location.port + '/alert');

    socket.emit('get_alert', {'username': '<MyName>', 'token': token});

    socket.on('an_alert', function(msg) {
        window.heard.push(msg.data);
    });
    socket.on('my_response', function(msg) { window.added = msg.data; });
    true
"""


async def test_the_original_page_prints_new_alert_in_a_browser(
    mine: Mine, admin: Person, browser: Browser
) -> None:
    library = package(OLD) / "socket.io-client" / "dist" / "socket.io.js"

    def connect_and_wait(truck_and_alert: Any) -> list[str]:
        with browser.page() as page:
            page.open(f"{mine.url}/livez")
            page.evaluate(library.read_text() + "; window.io = io; true")
            page.evaluate(_SNIPPET % admin.token)
            page.wait_for("window.added === 'Added!'")
            truck_and_alert()
            heard: list[str] = page.wait_for("window.heard.length && window.heard")
            return heard

    loop = asyncio.get_running_loop()
    truck = await mine.truck()

    def alert() -> None:
        asyncio.run_coroutine_threadsafe(mine.alert(truck), loop).result(20)

    heard = await asyncio.to_thread(connect_and_wait, alert)

    assert set(heard) == {"new_alert"}
