"""The README of the original server, step by step, as its clients run it."""

import base64
from datetime import UTC, datetime

from tests.services.fleet.support import JPEG, Mine, Person


async def test_the_flow_of_the_original_readme_runs_as_printed(mine: Mine, admin: Person) -> None:
    """Both body forms, `str(b64encode(…))`, the angle brackets around the address, both keys."""
    told = {
        "cur_user": {"username": admin.username, "token": admin.token},
        "new_user": {
            "username": "<UserName>".strip("<>"), "password": "<UserPass123>", "role": "Full",
            "email": "user@mine.example",
        },
    }  # fmt: skip
    registered = await mine.old("POST", "user/register/", json=told)
    assert registered.status_code == 200
    assert registered.json().keys() == {"code", "status_code", "data"}
    assert registered.json()["data"]["token"]

    updated = await mine.old("PUT", "user/register/", json=told)
    user_token = updated.json()["data"]["token"]
    assert updated.json()["data"]["id"]

    device = await mine.old(
        "POST",
        "jetson/register/",
        json={"mac": "<dc:71:96:53:16:0a>", "password": "<pass123>", "name": "<Truck-name>"},
    )
    jetson_token = device.json()["data"]["token"]
    truck_id = device.json()["data"]["truck_id"]

    alert_time = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    opened = await mine.old(
        "POST",
        "alert/",
        json={
            "token": jetson_token, "truck_id": truck_id, "alert_init": alert_time,
            "behavior": "Safe",
        },
    )  # fmt: skip
    alert_id = opened.json()["data"]["alert_id"]
    assert opened.json()["data"]["id"] == alert_id

    frame = str(base64.b64encode(JPEG))
    for _ in range(2):
        logged = await mine.old(
            "POST",
            "log/",
            json={
                "token": jetson_token, "alert_id": alert_id, "frame_timestamp": alert_time,
                "frame": frame,
            },
        )  # fmt: skip
        assert logged.json()["data"]["id"] == logged.json()["data"]["frame_id"]

    ended = await mine.old(
        "PUT",
        "alert/",
        json={"token": jetson_token, "alert_id": alert_id, "alert_end": alert_time},
    )
    assert ended.json() == {"code": 200, "status_code": "Success", "data": {"id": alert_id}}

    alerts = await mine.old(
        "GET", f"alert/?token={user_token}&username=UserName&page=1&truck_id={truck_id}"
    )
    assert alerts.json()["data"]["alerts"] == [
        {
            "id": alert_id, "truck_id": truck_id, "behavior": "Safe",
            "alert_init": alert_time.replace(" ", "T"), "alert_end": alert_time.replace(" ", "T"),
            "started": False,
        }
    ]  # fmt: skip

    frames = await mine.old(
        "GET", f"log/?token={user_token}&username=UserName&page=1&alert_id={alert_id}"
    )
    [shown] = frames.json()["data"]["frames"]
    assert base64.b64decode(shown["frame_image"], validate=True) == JPEG
    assert shown["frame"] == shown["frame_image"]
    assert (shown["frame_index"], shown["alert_id"]) == (0, alert_id)
    assert shown["frame_timestamp"] == alert_time.replace(" ", "T")

    safe = await mine.old(
        "POST",
        "safe/",
        json={
            "token": jetson_token, "truck_id": truck_id, "frame_timestamp": alert_time,
            "frame": frame, "frame_index": 7,
        },
    )  # fmt: skip
    last = await mine.old(
        "GET", f"truck/laststatus/?token={user_token}&username=cristian&truck_id={truck_id}"
    )
    shown = last.json()["data"]["frame"]
    assert shown["id"] == safe.json()["data"]["safeframe_id"]
    assert (shown["truck_id"], shown["frame_index"]) == (truck_id, 7)
    assert base64.b64decode(shown["frame_image"], validate=True) == JPEG
