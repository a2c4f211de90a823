"""Attacks 34, 54, 55 and 69 to 72: other people's trucks, on every route and wire of fleet."""

import base64
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.route import Accepted
from services.fleet import schemas
from services.fleet.app import create_app
from shared.assertions import AssertionVerifier, Caller
from tests.services.fleet.support import JPEG, Mine, Person, Truck, error_of, later, old_time

POLICY = Policy(TABLE)


@pytest.fixture(scope="module")
async def pair(mine: Mine, admin: Person) -> tuple[Truck, Person, Truck, Person]:
    """Two trucks, and two people who may each see one of them."""
    own, foreign = await mine.truck(), await mine.truck()
    return (
        own, await mine.person(admin, "Limited", own),
        foreign, await mine.person(admin, "Limited", foreign),
    )  # fmt: skip


async def facts(mine: Mine, admin: Person, truck: Truck) -> dict[str, str]:
    """Every identifier of a truck and of an alert of it with a frame."""
    number = await mine.alert(truck, "Single Hand")
    frame = await mine.frame(truck, number)
    truck_id = await mine.truck_uuid(admin, truck)
    listed = await mine.modern(
        "GET", "alerts", params={"truck_id": truck_id, "limit": 1}, headers=admin.headers
    )
    [alert] = listed.json()["items"]
    assert alert["number"] == number
    return {
        "truck": truck_id, "alert": alert["id"], "incident": alert["incident_id"],
        "frame": str(frame), "number": str(number),
    }  # fmt: skip


OF_ONE_THING = [
    ("GET", "alerts/{alert}", None),
    ("PATCH", "alerts/{alert}", {"state": "closed"}),
    ("GET", "alerts/{alert}/history", None),
    ("GET", "alerts/{alert}/comments", None),
    ("GET", "alerts/{alert}/frames", None),
    ("GET", "frames/{frame}/image", None),
    ("GET", "incidents/{incident}", None),
    ("GET", "trucks/{truck}", None),
    ("GET", "trucks/{truck}/frame", None),
    ("GET", "trucks/{truck}/live", None),
    ("GET", "trucks/{truck}/camera", None),
    ("GET", "trucks/{truck}/devices", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OF_ONE_THING)
async def test_s69_what_belongs_to_another_truck_is_as_absent_as_the_unknown(
    mine: Mine,
    admin: Person,
    pair: tuple[Truck, Person, Truck, Person],
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    """The same 404 to the byte, but for the request's id; a validator opens nothing."""
    _, person, foreign, _ = pair
    found = await facts(mine, admin, foreign)
    unknown = {**dict.fromkeys(found, str(uuid4())), "frame": "999999999"}
    headers = person.headers | {"If-None-Match": "*", "If-Match": "*"}
    answers = [
        await mine.modern(method, path.format(**names), json=body, headers=headers)
        for names in (found, unknown)
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert bodies[0] == bodies[1]


async def test_s70_lists_events_reports_and_exports_show_ones_own_trucks_alone(
    mine: Mine, admin: Person, pair: tuple[Truck, Person, Truck, Person]
) -> None:
    own, person, foreign, other = pair
    ours, theirs = await facts(mine, admin, own), await facts(mine, admin, foreign)
    for path in (
        "alerts?limit=100", "trucks", "incidents?limit=100", "events?limit=1000", "alerts.csv",
        "reports/trucks", "reports/behaviors", f"alerts?truck_id={theirs['truck']}",
        f"alerts?incident_id={theirs['incident']}", f"alerts.csv?truck_id={theirs['truck']}",
    ):  # fmt: skip
        shown = (await mine.modern("GET", path, headers=person.headers)).text
        for secret in (theirs["truck"], theirs["alert"], theirs["incident"], foreign.name):
            assert secret not in shown, path
    own_list = (await mine.modern("GET", "alerts", headers=person.headers)).json()["items"]
    assert ours["alert"] in {alert["id"] for alert in own_list}
    assert {alert["truck_id"] for alert in own_list} == {ours["truck"]}
    counted = (await mine.modern("GET", "reports/behaviors", headers=other.headers)).json()
    visible = await mine.modern("GET", "alerts?limit=100", headers=other.headers)
    assert sum(item["alerts"] for item in counted["items"]) == len(visible.json()["items"])


async def test_s70_the_old_lists_show_ones_own_trucks_alone(
    mine: Mine, admin: Person, pair: tuple[Truck, Person, Truck, Person]
) -> None:
    own, person, foreign, _ = pair
    await facts(mine, admin, own)
    theirs = await facts(mine, admin, foreign)
    trucks = await mine.old("GET", f"truck/list/?token={person.token}&include_last_alert=1")
    alerts = await mine.old("GET", f"alert/?token={person.token}&limit=100")
    for query in (f"truck_id={foreign.id}", f"id={theirs['number']}", f"truck_name={foreign.name}"):
        found = (await mine.old("GET", f"alert/?token={person.token}&{query}")).json()["data"]
        assert (found["alerts"], found["totalItems"]) == ([], 0)
    frames = await mine.old("GET", f"log/?token={person.token}&alert_id={theirs['number']}")
    status = await mine.old("GET", f"truck/laststatus/?token={person.token}&truck_id={foreign.id}")
    unknown = await mine.old("GET", f"truck/laststatus/?token={person.token}&truck_id=999999")

    assert [truck["id"] for truck in trucks.json()["data"]["trucks"]] == [own.id]
    assert {alert["truck_id"] for alert in alerts.json()["data"]["alerts"]} == {own.id}
    assert frames.json()["data"]["frames"] == []
    assert status.content == unknown.content


async def test_s34_a_device_acts_for_its_own_truck_alone(mine: Mine, admin: Person) -> None:
    own, foreign = await mine.truck(), await mine.truck()
    number = await mine.alert(foreign)
    shown = {"frame_timestamp": old_time(), "frame": base64.b64encode(JPEG).decode()}
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "alert/", {"truck_id": foreign.id, "alert_init": old_time(), "behavior": "Safe"}),
        ("PUT", "alert/", {"alert_id": number, "alert_end": old_time()}),
        ("POST", "log/", {"alert_id": number, **shown}),
        ("POST", "safe/", {"truck_id": foreign.id, **shown}),
    ]
    answers = [
        await mine.old(method, path, json={"token": own.token, **body})
        for method, path, body in tries
    ]
    frames = await mine.old("GET", f"log/?token={admin.token}&alert_id={number}")

    assert [error_of(answer) for answer in answers] == [
        (400, "Wrong token"),
        (400, "Alert_id doesn't exists or is close."),
        (400, "Alert_id doesn't exists or is close."),
        (400, "Wrong token"),
    ]
    assert frames.json()["data"]["frames"] == []


async def test_s34_a_device_reaches_no_route_for_people_and_no_foreign_alert(
    mine: Mine, admin: Person
) -> None:
    device, foreign = await mine.enrolled(admin), await mine.enrolled(admin)
    opened = await mine.modern("POST", "alerts", json=foreign.alert(), headers=foreign.headers)
    alert = opened.json()["id"]
    for method, path in (
        ("GET", "alerts"), ("GET", "trucks"), ("GET", "events"), ("GET", "members"),
        ("GET", "reports/trucks"), ("GET", f"alerts/{alert}"), ("POST", "trucks"),
        ("GET", f"alerts/{alert}/frames"), ("POST", f"alerts/{alert}/comments"),
    ):  # fmt: skip
        answer = await mine.modern(method, path, headers=device.headers)
        assert answer.status_code in (401, 403), path
    ended = await mine.modern(
        "PATCH", f"alerts/{alert}", json={"ended_at": later()}, headers=device.headers
    )
    handled = await mine.modern(
        "PATCH", f"alerts/{alert}", json={"state": "closed"}, headers=foreign.headers
    )
    frame = await mine.modern(
        "POST", f"alerts/{alert}/frames", content=JPEG,
        headers=device.headers | {"Content-Type": "image/jpeg"},
    )  # fmt: skip
    elsewhere = await mine.http.get("/api/v2/auth/users/me", headers=device.headers)
    by_query = await mine.old("GET", f"alert/?token={device.access}")

    assert (ended.status_code, handled.status_code, frame.status_code) == (404, 403, 404)
    assert elsewhere.status_code == 401
    assert error_of(by_query) == (400, "Wrong token")


async def test_s34_a_person_is_no_device(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    told = {"truck_id": truck.id, "alert_init": old_time(), "behavior": "Safe"}
    for token in (admin.token, admin.access):
        answer = await mine.old("POST", "alert/", json={"token": token, **told})
        assert error_of(answer) == (400, "Wrong token")
    modern = await mine.modern(
        "POST", "alerts", json={"behavior": "Safe", "started_at": later()}, headers=admin.headers
    )
    assert modern.status_code == 403


async def test_s55_a_token_of_the_old_wire_opens_nothing_else(mine: Mine, admin: Person) -> None:
    for headers in (
        {"Authorization": f"Bearer {admin.token}"},
        {"Authorization": f"Token {admin.token}"},
    ):
        for path in ("/api/v2/fleet/trucks", "/api/v2/auth/users/me"):
            assert (await mine.http.get(path, headers=headers)).status_code == 401
    modern = await mine.http.get(f"/api/v2/fleet/trucks?token={admin.token}")
    assert modern.status_code == 401


async def test_s54_no_token_reaches_a_log_or_an_answer(
    mine: Mine, admin: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the address, in a body and inside a connection; good ones and bad ones."""
    truck = await mine.truck()
    number = await mine.alert(truck)
    answers = [
        await mine.old("GET", f"alert/?token={admin.token}&page=x"),
        await mine.old("GET", "alert/?token=not-a-token-at-all"),
        await mine.old("PUT", "alert/", json={"token": truck.token, "alert_id": number}),
        await mine.http.get(f"/socket.io/?EIO=3&transport=polling&token={admin.token}"),
    ]
    written = capsys.readouterr()
    for secret in (admin.token, truck.token, "not-a-token-at-all", admin.token.split(".")[2]):
        assert secret not in written.out + written.err
        assert all(secret not in answer.text for answer in answers)


def routes() -> Iterator[APIRoute]:
    """Every documented route of the service."""
    app = create_app(lambda _: None, AssertionVerifier("fleet", {}))  # type: ignore[arg-type]  # nothing opens
    yield from (route for route in app.routes if isinstance(route, APIRoute))


PLATFORM_PATHS = {"/livez", "/readyz", "/metrics"}


@pytest.mark.parametrize("route", [pytest.param(r, id=f"{r.path}") for r in routes()])
def test_s71_every_route_of_fleet_has_a_policy(route: APIRoute) -> None:
    """And what is open to everybody is what a device needs before it has a token."""
    if route.path in PLATFORM_PATHS:
        return
    path = re.sub(r"\{[^}]+\}", "x", route.path)
    row = POLICY.find(path)

    assert row.service == "fleet"
    assert (route.methods or set()) <= row.methods
    if path.startswith("/api/v2/") and "/devices/" in path and (route.methods or set()) == {"POST"}:
        assert not row.accepts
    elif path.startswith("/api/v2/"):
        assert row.needs_credential
    else:
        assert Accepted.QUERY in row.accepts


async def test_s72_answers_hold_the_declared_members_and_no_others(
    mine: Mine, admin: Person
) -> None:
    device = await mine.enrolled(admin)
    opened = await mine.modern("POST", "alerts", json=device.alert(), headers=device.headers)
    assert opened.json().keys() == schemas.AlertOut.model_fields.keys()
    for path, model in (
        (f"trucks/{device.truck_id}", schemas.TruckOut),
        ("events?limit=1", schemas.EventPageOut),
        ("members", schemas.MemberPageOut),
    ):
        answer = await mine.modern("GET", path, headers=admin.headers)
        assert answer.json().keys() == model.model_fields.keys()


async def test_s71_fleets_own_port_believes_no_header_but_the_gateways(mine: Mine) -> None:
    for headers in ({}, {"X-User-Id": "admin"}, {"Vedette-Assertion": "x.y.z"}):
        for path in ("/api/v1/alert/", "/api/v2/fleet/trucks", "/socket.io/?EIO=4"):
            answer = await mine.http.get(f"{mine.fleet_url}{path}", headers=headers)
            assert answer.status_code == 401


async def test_s70_somebody_whose_account_has_no_fleet_rights_sees_nothing(mine: Mine) -> None:
    nobody = Caller(
        str(uuid4()), "user", "clinician", ("clinician",), frozenset({"chexray:read"}),
        credential="bearer",
    )  # fmt: skip
    modern = await mine.http.get(
        f"{mine.fleet_url}/api/v2/fleet/trucks", headers=mine.direct(nobody)
    )
    old = await mine.http.get(f"{mine.fleet_url}/api/v1/alert/", headers=mine.direct(nobody))

    assert modern.status_code == 403
    assert error_of(old) == (400, "Current user don't has permission")
