"""The modern API of alerts, frames, trucks, incidents, reports and live pictures."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.fleet.simulator.pictures import drawn
from shared.webhooks import is_genuine
from tests.services.fleet.support import JPEG, Enrolled, Mine, Person, later

PICTURES = drawn(5)


@pytest.fixture(scope="module")
async def device(mine: Mine, admin: Person) -> Enrolled:
    """A device that several tests send with."""
    return await mine.enrolled(admin)


async def open_alert(mine: Mine, device: Enrolled, **more: Any) -> dict[str, Any]:
    """An alert of a device."""
    answer = await mine.modern("POST", "alerts", json=device.alert(**more), headers=device.headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def patch(
    mine: Mine, person: Person, alert: dict[str, Any], etag: str | None = None, **change: Any
) -> httpx.Response:
    """A person's change of an alert."""
    headers = person.headers | ({} if etag is None else {"If-Match": etag})
    return await mine.modern("PATCH", f"alerts/{alert['id']}", json=change, headers=headers)


# Alerts.


async def test_what_post_returns_is_what_get_returns_later(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    made = await open_alert(mine, device)
    found = await mine.modern("GET", f"alerts/{made['id']}", headers=admin.headers)

    assert found.json() == made
    assert (made["severity"], made["state"], made["marks"]) == ("high", "open", [])
    assert made["truck_id"] == device.truck_id


@pytest.mark.parametrize("repeats_by", ["key", "id", "seq"])
async def test_the_same_request_opens_one_alert(mine: Mine, admin: Person, repeats_by: str) -> None:
    device = await mine.enrolled(admin)
    more = {"id": str(uuid4())} if repeats_by == "id" else {"seq": 7} if repeats_by == "seq" else {}
    told = device.alert(**more)
    headers = device.headers | ({"Idempotency-Key": "once"} if repeats_by == "key" else {})
    answers = [await mine.modern("POST", "alerts", json=told, headers=headers) for _ in range(3)]
    changed = await mine.modern(
        "POST", "alerts", json={**told, "behavior": "Asleep"}, headers=headers
    )

    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert changed.status_code == 422
    assert changed.json()["type"] == "/problems/idempotency-key-reused"


@pytest.mark.parametrize(
    "change",
    [
        {"behavior": "Dancing"},
        {"started_at": "2026-01-01T00:00:00"},
        {"started_at": "yesterday"},
        {"severity": "terrible"},
        {"seq": -1},
        {"truck_id": "mine"},
    ],
)
async def test_a_malformed_alert_is_refused(
    mine: Mine, device: Enrolled, change: dict[str, Any]
) -> None:
    answer = await mine.modern(
        "POST", "alerts", json=device.alert(**change), headers=device.headers
    )

    assert answer.status_code == 422


async def test_an_alert_is_acknowledged_assigned_closed_and_opened_again(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    alert = await open_alert(mine, device)
    states = []
    for change in (
        {"state": "acknowledged"}, {"assignee": admin.id}, {"state": "closed"}, {"state": "open"},
        {"state": "false_alarm"},
    ):  # fmt: skip
        changed = await patch(mine, admin, alert, **change)
        states.append(changed.json()["state"])
    history = await mine.modern("GET", f"alerts/{alert['id']}/history", headers=admin.headers)

    assert states == ["acknowledged", "assigned", "closed", "open", "false_alarm"]
    actions = [(entry["action"], entry["actor"]) for entry in history.json()["items"]]
    assert actions[0] == ("opened", f"device {device.id}")
    assert actions[1:] == [("changed", admin.id)] * 5


async def test_what_is_closed_is_not_acknowledged(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    alert = await open_alert(mine, device)
    await patch(mine, admin, alert, state="closed")
    answer = await patch(mine, admin, alert, state="acknowledged")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/illegal-transition"


async def test_of_two_who_change_the_same_alert_the_second_is_told(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    alert = await open_alert(mine, device)
    seen = await mine.modern("GET", f"alerts/{alert['id']}", headers=admin.headers)
    etag = seen.headers["etag"]
    answers = await asyncio.gather(
        *(patch(mine, admin, alert, etag, state=state) for state in ("acknowledged", "closed"))
    )
    unchanged = await mine.modern(
        "GET", f"alerts/{alert['id']}", headers=admin.headers | {"If-None-Match": "*"}
    )

    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert unchanged.status_code == 304


async def test_comments_are_kept_with_their_author(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    alert = await open_alert(mine, device)
    body = "He yawned. <script>alert(1)</script>"
    made = await mine.modern(
        "POST", f"alerts/{alert['id']}/comments", json={"body": body}, headers=admin.headers
    )
    listed = await mine.modern("GET", f"alerts/{alert['id']}/comments", headers=admin.headers)

    assert listed.json()["items"] == [made.json()]
    assert (made.json()["author_name"], made.json()["body"]) == (admin.username, body)


async def test_alerts_page_by_cursor_and_filter(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    begins = [datetime(2025, 1, 1, hour, tzinfo=UTC).isoformat() for hour in range(5)]
    made = [
        await open_alert(mine, device, started_at=at, behavior=behavior)
        for at, behavior in zip(
            begins, ("Yawning", "Asleep", "Yawning", "PanicButton", "other:goat"), strict=True
        )
    ]
    shown: list[str] = []
    query: dict[str, str] = {"truck_id": device.truck_id, "limit": "2"}
    while True:
        answer = await mine.modern("GET", "alerts", params=query, headers=admin.headers)
        page = answer.json()
        shown += [alert["id"] for alert in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    async def numbers(**more: str) -> list[int]:
        filters = {"truck_id": device.truck_id, **more}
        found = await mine.modern("GET", "alerts", params=filters, headers=admin.headers)
        ids = [alert["id"] for alert in made]
        return [ids.index(alert["id"]) for alert in found.json()["items"]]

    assert shown == [alert["id"] for alert in reversed(made)]
    assert await numbers(behavior="Yawning") == [2, 0]
    assert await numbers(min_severity="critical") == [3, 1]
    assert await numbers(since=begins[1], until=begins[3]) == [2, 1]
    assert await numbers(state="closed") == []
    assert await numbers(going_on="true") == [4, 3, 2, 1, 0]


# Time.


async def test_late_skewed_and_future_alerts_are_kept_and_marked(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    late = await open_alert(mine, device, started_at=later(minutes=-10), seq=5)
    skewed = await open_alert(
        mine, device, started_at=later(hours=3), sent_at=later(hours=3), seq=6
    )
    future = await open_alert(mine, device, started_at=later(days=400), seq=7)
    behind = await open_alert(mine, device, seq=4)
    devices = await mine.modern("GET", f"trucks/{device.truck_id}/devices", headers=admin.headers)

    assert late["marks"] == ["late"]
    assert skewed["marks"] == ["clock_skew"]
    assert abs(datetime.fromisoformat(skewed["started_at"]) - datetime.now(UTC)) < timedelta(
        minutes=1
    )
    assert future["marks"] == ["future"]
    assert behind["marks"] == ["out_of_order"]
    [shown] = devices.json()["items"]
    assert shown["last_seq"] == 7
    assert -10_830_000 < shown["clock_skew_ms"] < -10_770_000


async def test_a_frame_of_tomorrow_hides_no_picture_of_today(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    for at in (later(days=30), later(seconds=-5)):
        await mine.modern(
            "POST", "frames", params={"taken_at": at}, content=next(PICTURES),
            headers=device.headers | {"Content-Type": "image/jpeg"},
        )  # fmt: skip
    last = await mine.modern("GET", f"trucks/{device.truck_id}/frame", headers=admin.headers)

    assert last.status_code == 200
    assert last.headers["content-type"] == "image/jpeg"


async def test_endings_in_any_order_converge_to_the_latest(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    alert = await open_alert(mine, device)
    ends = [later(seconds=seconds) for seconds in (10, 30, 20, 30)]
    for end in ends:
        answer = await mine.modern(
            "PATCH", f"alerts/{alert['id']}", json={"ended_at": end}, headers=device.headers
        )
        assert answer.status_code == 200
    before = await mine.modern(
        "PATCH", f"alerts/{alert['id']}", json={"ended_at": later(hours=-1)},
        headers=device.headers,
    )  # fmt: skip

    assert datetime.fromisoformat(before.json()["ended_at"]) == datetime.fromisoformat(ends[3])


# Frames.


async def test_a_frame_is_kept_raw_or_as_base64_also_after_the_alert(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    alert = await open_alert(mine, device)
    await mine.modern(
        "PATCH", f"alerts/{alert['id']}", json={"ended_at": later()}, headers=device.headers
    )
    path = f"alerts/{alert['id']}/frames"
    one, two = next(PICTURES), next(PICTURES)
    raw = await mine.modern(
        "POST", path, content=one, headers=device.headers | {"Content-Type": "image/jpeg"}
    )
    told = {"image": base64.b64encode(two).decode(), "taken_at": later(), "index": 3}
    wrapped = await mine.modern("POST", path, json=told, headers=device.headers)
    listed = (await mine.modern("GET", path, headers=admin.headers)).json()["items"]
    images = [await mine.http.get(frame["image_url"], headers=admin.headers) for frame in listed]

    assert (raw.status_code, wrapped.status_code) == (201, 201)
    assert [frame["number"] for frame in listed] == [
        wrapped.json()["number"], raw.json()["number"],
    ]  # fmt: skip
    assert [image.content for image in images] == [two, one]
    assert images[0].headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in images[0].headers["content-security-policy"]


@pytest.mark.parametrize(("key", "seq"), [("frame-1", None), (None, 11)])
async def test_a_frame_that_is_sent_again_is_kept_once(
    mine: Mine, admin: Person, key: str | None, seq: int | None
) -> None:
    device = await mine.enrolled(admin)
    headers = device.headers | {"Content-Type": "image/jpeg"}
    headers |= {} if key is None else {"Idempotency-Key": key}
    query = {} if seq is None else {"seq": seq}
    picture, other = next(PICTURES), next(PICTURES)
    answers = await asyncio.gather(
        *(
            mine.modern("POST", "frames", params=query, content=picture, headers=headers)
            for _ in range(8)
        )
    )
    changed = await mine.modern("POST", "frames", params=query, content=other, headers=headers)

    assert len({answer.json()["number"] for answer in answers}) == 1
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert changed.status_code == 422


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/jpeg", 422),
        (b"<svg/>", "image/svg+xml", 422),
        (b"GIF89a" + bytes(64), "image/gif", 422),
        (b"\xff\xd8\xff" + bytes(2_200_000), "image/jpeg", 413),
        (b"{}", "application/json", 422),
        (b'{"image": "%%", "taken_at": "2026-01-01T00:00:00Z"}', "application/json", 422),
    ],
)
async def test_what_is_no_picture_is_refused(
    mine: Mine, device: Enrolled, content: bytes, kind: str, status: int
) -> None:
    answer = await mine.modern(
        "POST", "frames", content=content, headers=device.headers | {"Content-Type": kind}
    )

    assert answer.status_code == status


# Incidents.


async def incidents_of(mine: Mine, admin: Person, device: Enrolled) -> set[frozenset[str]]:
    """Which alerts of a device's truck are together."""
    answer = await mine.modern(
        "GET", "alerts", params={"truck_id": device.truck_id, "limit": 100}, headers=admin.headers
    )
    by_incident: dict[str, set[str]] = {}
    for alert in answer.json()["items"]:
        by_incident.setdefault(alert["incident_id"], set()).add(alert["started_at"])
    return {frozenset(starts) for starts in by_incident.values()}


async def test_overlapping_alerts_make_one_incident_in_whatever_order_they_come(
    mine: Mine, admin: Person
) -> None:
    noon = datetime(2025, 6, 1, 12, tzinfo=UTC)
    # Two overlap, a third bridges them to a fourth, and a fifth is apart.
    spans = [(0, 120), (100, 60), (200, 300), (520, 30), (4000, 10)]
    found = []
    for order in ((0, 1, 2, 3, 4), (4, 3, 0, 1, 2), (2, 4, 1, 3, 0)):
        device = await mine.enrolled(admin)
        for place in order:
            start, lasts = spans[place]
            began = noon + timedelta(seconds=start)
            await open_alert(
                mine, device, started_at=began.isoformat(),
                ended_at=(began + timedelta(seconds=lasts)).isoformat(),
            )  # fmt: skip
        found.append(await incidents_of(mine, admin, device))

    assert sorted(len(together) for together in found[0]) == [1, 4]
    assert found[0] == found[1] == found[2]


async def test_an_incident_shows_its_alerts_and_its_gravest_severity(
    mine: Mine, admin: Person
) -> None:
    device = await mine.enrolled(admin)
    low = await open_alert(mine, device, behavior="Yawning")
    grave = await open_alert(mine, device, behavior="Asleep")
    answer = await mine.modern("GET", f"incidents/{low['incident_id']}", headers=admin.headers)
    listed = await mine.modern("GET", "incidents", params={"limit": 1}, headers=admin.headers)

    assert low["incident_id"] == grave["incident_id"]
    assert (answer.json()["severity"], answer.json()["alerts"]) == ("critical", 2)
    assert [alert["id"] for alert in answer.json()["items"]] == [low["id"], grave["id"]]
    assert listed.json()["next_cursor"] is not None


async def test_what_happens_again_and_again_is_raised_a_step(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    severities = [
        (await open_alert(mine, device, behavior="Yawning"))["severity"] for _ in range(3)
    ]

    assert severities == ["low", "low", "medium"]


# Events, reports, exports.


async def test_events_are_replayed_in_their_order_from_any_place(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    start = await mine.modern("GET", "events", headers=admin.headers, params={"limit": 1000})
    cursor = start.json()["next_cursor"]
    alert = await open_alert(mine, device)
    await patch(mine, admin, alert, state="acknowledged")
    await patch(mine, admin, alert, state="closed")
    page = await mine.modern("GET", "events", params={"since": cursor}, headers=admin.headers)
    items = page.json()["items"]
    half = await mine.modern(
        "GET", "events", params={"since": items[0]["id"], "limit": 1}, headers=admin.headers
    )
    end = await mine.modern(
        "GET", "events", params={"since": page.json()["next_cursor"]}, headers=admin.headers
    )

    assert [item["type"] for item in items] == ["alert.opened", "alert.changed", "alert.changed"]
    assert {item["alert_id"] for item in items} == {alert["id"]}
    assert items[-1]["data"]["state"] == "closed"
    assert [item["id"] for item in half.json()["items"]] == [items[1]["id"]]
    assert end.json()["items"] == []


async def test_reports_and_exports_tell_the_same_alerts(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    at = datetime(2024, 2, 1, tzinfo=UTC)
    for hour, behavior in enumerate(("Asleep", "Asleep", "other:=HYPERLINK(1)")):
        began = at + timedelta(hours=3 * hour)
        alert = await open_alert(
            mine, device, started_at=began.isoformat(), behavior=behavior,
            ended_at=(began + timedelta(seconds=40)).isoformat(),
        )  # fmt: skip
    await patch(mine, admin, alert, state="false_alarm")
    span = {"since": at.isoformat(), "until": (at + timedelta(days=1)).isoformat()}
    headers = admin.headers
    behaviors = await mine.modern("GET", "reports/behaviors", params=span, headers=headers)
    trucks = await mine.modern("GET", "reports/trucks", params=span, headers=headers)
    table = await mine.modern(
        "GET", "reports/trucks", params=span, headers=headers | {"Accept": "text/csv"}
    )
    export = await mine.modern("GET", "alerts.csv", params=span, headers=headers)

    by_name = {item["behavior"]: item for item in behaviors.json()["items"]}
    assert by_name["Asleep"]["alerts"] == 2
    assert by_name["Asleep"]["mean_seconds"] == 40
    assert by_name["other:=HYPERLINK(1)"]["false_alarm_share"] == 1
    [line] = trucks.json()["items"]
    assert (line["alerts"], line["critical"], line["medium"]) == (3, 2, 1)
    assert table.text.splitlines()[1].startswith(f"{device.truck_id},{device.truck_number}")
    assert export.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(export.text.splitlines()) == 4


# Live pictures.


async def test_the_live_stream_shows_each_new_picture(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    headers = device.headers | {"Content-Type": "image/jpeg"}
    one, two = next(PICTURES), next(PICTURES)
    await mine.modern("POST", "frames", content=one, headers=headers)
    url = f"/api/v2/fleet/trucks/{device.truck_id}/live"
    async with mine.http.stream("GET", url, headers=admin.headers) as answer:
        received = b""
        async with asyncio.timeout(20):
            async for part in answer.aiter_raw():
                received += part
                if one in received and two not in received:
                    await mine.modern("POST", "frames", content=two, headers=headers)
                if two in received:
                    break

    assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
    assert received.index(one) < received.index(two)
    assert received.startswith(b"--vedette-frame\r\nContent-Type: image/jpeg\r\n")


async def test_the_last_frame_costs_nothing_when_it_is_known(
    mine: Mine, admin: Person, device: Enrolled
) -> None:
    headers = device.headers | {"Content-Type": "image/jpeg"}
    await mine.modern("POST", "frames", content=JPEG, headers=headers)
    url = f"trucks/{device.truck_id}/frame"
    first = await mine.modern("GET", url, headers=admin.headers)
    again = await mine.modern(
        "GET", url, headers=admin.headers | {"If-None-Match": first.headers["etag"]}
    )

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


async def test_a_camera_that_is_covered_is_told(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    black = await asyncio.to_thread(_black)
    await mine.modern(
        "POST", "frames", content=black, headers=device.headers | {"Content-Type": "image/png"}
    )
    async with asyncio.timeout(20):
        while True:
            found = await mine.modern(
                "GET", f"trucks/{device.truck_id}/camera", headers=admin.headers
            )
            if found.status_code == 200:
                break
            await asyncio.sleep(0.02)
    events = await mine.modern("GET", "events", params={"limit": 1000}, headers=admin.headers)
    told = [item for item in events.json()["items"] if item["truck_id"] == device.truck_id]

    assert found.json()["faults"] == ["dark"]
    assert [item["data"]["faults"] for item in told if item["type"] == "camera.changed"] == [
        ["dark"]
    ]


def _black() -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1])


async def test_s68_webhooks_lead_to_no_private_address(mine: Mine, admin: Person) -> None:
    refused = [
        await mine.modern("POST", "webhooks", json={"url": url}, headers=admin.headers)
        for url in (
            "https://10.0.0.1/hook",
            "http://169.254.169.254/",
            "https://[::1]/",
            "file:///",
        )
    ]
    unknown = await mine.modern("DELETE", f"webhooks/{uuid4()}", headers=admin.headers)

    assert {answer.status_code for answer in refused} == {422}
    assert unknown.status_code == 404


async def test_a_webhook_is_told_of_an_alert_and_signed(mine: Mine, admin: Person) -> None:
    received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(lines["content-length"]))
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        received.put_nowait((lines["vedette-signature"], body))

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        wanted = {"url": f"http://127.0.0.1:{port}/hook", "events": ["alert.opened"]}
        made = await mine.modern("POST", "webhooks", json=wanted, headers=admin.headers)
        device = await mine.enrolled(admin)
        alert = await open_alert(mine, device)
        signature, body = await asyncio.wait_for(received.get(), 20)
        path = f"webhooks/{made.json()['id']}"
        removed = await mine.modern("DELETE", path, headers=admin.headers)

    told = json.loads(body)
    assert is_genuine(made.json()["secret"], signature, body, now=time.time())
    assert (told["type"], told["data"]["alert_id"]) == ("alert.opened", alert["id"])
    assert removed.status_code == 204
