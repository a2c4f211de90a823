"""Roles, grants, enrolment, device keys, offline devices, retention and holds."""

import asyncio
import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.alerting import Alerting
from services.fleet.devices import SIGNED_PREFIX
from services.fleet.domain import DeviceId, NewFrame, Pack, TruckId, date, new_id
from services.fleet.repositories.frames import FrameRepository
from services.fleet.repositories.trucks import TruckRepository
from services.fleet.upkeep import Retention, Upkeep
from shared.db import create_engine
from shared.objects import LocalObjects
from tests.services.fleet.support import Enrolled, Mine, Person, error_of, later


async def sign_in(mine: Mine, device: Enrolled, **change: Any) -> int:
    """Ask for a token by the device's key, with something else in place of a part."""
    asked = await mine.modern("POST", "devices/challenge")
    challenge = asked.json()["challenge"]
    signature = device.key.sign(SIGNED_PREFIX + challenge.encode())
    told = {
        "device_id": device.id, "challenge": challenge,
        "signature": base64.b64encode(signature).decode(), **change,
    }  # fmt: skip
    answer = await mine.modern("POST", "devices/token", json=told)
    if answer.status_code == 200:
        device.access = answer.json()["access_token"]
    return answer.status_code


async def test_a_device_gets_tokens_by_its_key(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    assert await sign_in(mine, device) == 200

    answer = await mine.modern("POST", "alerts", json=device.alert(), headers=device.headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"signature": base64.b64encode(bytes(64)).decode()},
        {"signature": "no base64"},
        {"challenge": "AAAA"},
        {"challenge": base64.urlsafe_b64encode(bytes(56)).decode()},
        {"device_id": str(new_id())},
    ],
)
async def test_s33_a_signature_or_challenge_that_is_not_right_gives_nothing(
    mine: Mine, admin: Person, change: dict[str, str]
) -> None:
    device = await mine.enrolled(admin)

    assert await sign_in(mine, device, **change) == 401


async def test_s33_a_challenge_is_good_once(mine: Mine, admin: Person) -> None:
    device = await mine.enrolled(admin)
    challenge = (await mine.modern("POST", "devices/challenge")).json()["challenge"]
    signature = device.key.sign(SIGNED_PREFIX + challenge.encode())
    told = {
        "device_id": device.id, "challenge": challenge,
        "signature": base64.b64encode(signature).decode(),
    }  # fmt: skip
    answers = await asyncio.gather(
        *(mine.modern("POST", "devices/token", json=told) for _ in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


async def test_s33_an_enrolment_code_is_good_once_for_twenty_who_show_it_at_once(
    mine: Mine, admin: Person
) -> None:
    made = await mine.modern(
        "POST", "trucks", json={"name": f"Enrolment {new_id()}"}, headers=admin.headers
    )
    path = f"trucks/{made.json()['id']}/enrolments"
    code = (await mine.modern("POST", path, headers=admin.headers)).json()["code"]

    async def enrol(number: int) -> int:
        public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        shown = code.lower() if number % 2 else "-".join((code[:10], code[10:]))
        told = {"code": shown, "public_key": base64.b64encode(public).decode()}
        return (await mine.modern("POST", "devices/enrol", json=told)).status_code

    statuses = await asyncio.gather(*(enrol(number) for number in range(20)))
    devices = await mine.modern("GET", f"trucks/{made.json()['id']}/devices", headers=admin.headers)

    assert sorted(statuses) == [201] + [404] * 19
    assert len(devices.json()["items"]) == 1


async def test_s33_the_device_that_used_a_code_may_ask_again_and_nobody_else(
    mine: Mine, admin: Person
) -> None:
    """The answer to its first request may have been lost on the way."""
    made = await mine.modern(
        "POST", "trucks", json={"name": f"Enrolment {new_id()}"}, headers=admin.headers
    )
    path = f"trucks/{made.json()['id']}/enrolments"
    code = (await mine.modern("POST", path, headers=admin.headers)).json()["code"]
    keys = [Ed25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(2)]
    answers = [
        await mine.modern(
            "POST",
            "devices/enrol",
            json={"code": code, "public_key": base64.b64encode(key).decode()},
        )
        for key in (keys[0], keys[0], keys[1])
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 404]
    assert answers[0].json()["device_id"] == answers[1].json()["device_id"]


async def test_s33_an_expired_code_and_a_guessed_one_are_refused_alike(
    mine: Mine, admin: Person
) -> None:
    made = await mine.modern(
        "POST", "trucks", json={"name": f"Enrolment {new_id()}"}, headers=admin.headers
    )
    path = f"trucks/{made.json()['id']}/enrolments"
    code = (await mine.modern("POST", path, headers=admin.headers)).json()["code"]
    engine = create_engine(mine.database_url)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE fleet.enrolments SET expires_at = now() WHERE truck_id = :id"),
            {"id": made.json()["id"]},
        )
    await engine.dispose()
    public = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    answers = [
        await mine.modern(
            "POST", "devices/enrol", json={"code": shown, "public_key": public.decode()}
        )
        for shown in (code, "0" * 20, "short", "x" * 64)
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]

    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)


async def test_only_administrators_of_the_fleet_make_codes_trucks_and_members(
    mine: Mine, admin: Person
) -> None:
    truck = await mine.truck()
    truck_id = await mine.truck_uuid(admin, truck)
    for role in ("Full", "Limited"):
        person = await mine.person(admin, role, truck)
        for method, path, body in (
            ("POST", "trucks", {"name": "theirs"}),
            ("POST", f"trucks/{truck_id}/enrolments", None),
            ("PATCH", f"trucks/{truck_id}", {"legal_hold": True}),
            ("GET", "members", None),
            ("PUT", f"members/{person.id}", {"username": person.username, "role": "Admin"}),
            ("PUT", f"members/{person.id}/trucks/{truck_id}", {}),
            ("POST", "webhooks", {"url": "https://hooks.example/"}),
        ):
            answer = await mine.modern(method, path, json=body, headers=person.headers)
            assert answer.status_code == 403, (role, path, answer.text)


async def test_somebody_limited_reads_and_changes_nothing(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)
    person = await mine.person(admin, "Limited", truck)
    listed = await mine.modern("GET", "alerts", headers=person.headers)
    [alert] = listed.json()["items"]
    changed = await mine.modern(
        "PATCH", f"alerts/{alert['id']}", json={"state": "closed"}, headers=person.headers
    )
    comment = await mine.modern(
        "POST", f"alerts/{alert['id']}/comments", json={"body": "hm"}, headers=person.headers
    )

    assert alert["number"] == number
    assert (changed.status_code, comment.status_code) == (403, 403)


async def test_a_grant_ends_when_it_says(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    person = await mine.person(admin, "Limited", truck)
    truck_id = await mine.truck_uuid(admin, truck)
    path = f"members/{person.id}/trucks/{truck_id}"
    await mine.modern("PUT", path, json={"expires_at": later(seconds=-1)}, headers=admin.headers)
    listed = await mine.modern("GET", "trucks", headers=person.headers)
    grants = await mine.modern("GET", f"members/{person.id}/trucks", headers=admin.headers)

    assert listed.json()["items"] == []
    assert [grant["truck_id"] for grant in grants.json()["items"]] == [truck_id]


async def test_a_device_that_is_shut_out_feels_it_on_both_wires(mine: Mine, admin: Person) -> None:
    truck = await mine.truck()
    number = await mine.alert(truck)
    truck_id = await mine.truck_uuid(admin, truck)
    devices = await mine.modern("GET", f"trucks/{truck_id}/devices", headers=admin.headers)
    path = f"devices/{devices.json()['items'][0]['id']}"
    await mine.modern("PATCH", path, json={"disabled": True}, headers=admin.headers)
    async with asyncio.timeout(5):
        while True:
            told = {"token": truck.token, "alert_id": number, "alert_end": "2030-01-01 00:00:00"}
            ended = await mine.old("PUT", "alert/", json=told)
            if ended.status_code != 200:
                break
    again = await mine.old(
        "POST",
        "jetson/register/",
        json={"mac": truck.mac, "password": truck.password, "name": truck.name},
    )

    assert ended.status_code == 400
    assert error_of(again)[0] == 409


# What happens by the clock.


def upkeep_of(sessions: async_sessionmaker[AsyncSession], folder: Path) -> Upkeep:
    """The rules of these tests: everything is kept for a day."""
    day = timedelta(days=1)
    return Upkeep(
        sessions,
        LocalObjects(folder),
        Alerting(timedelta(seconds=60), 3),
        Retention(day, 2 * day, 10 * day, day, 60),
        timedelta(minutes=10),
        3600,
    )


async def device_in(session: AsyncSession) -> tuple[DeviceId, TruckId]:
    """A device in a truck."""
    trucks = TruckRepository(session)
    truck = await trucks.add(f"Truck {new_id()}")
    device_id = DeviceId(new_id())
    await trucks.add_device(device_id, truck.id)
    return device_id, truck.id


async def test_a_silent_device_raises_one_alert_that_ends_when_it_is_back(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    upkeep = upkeep_of(sessions, tmp_path)
    async with sessions.begin() as session:
        device_id, truck_id = await device_in(session)

    async def alerts() -> list[tuple[str, bool]]:
        async with sessions.begin() as session:
            found = await session.execute(
                text("SELECT behavior, ended_at IS NULL FROM fleet.alerts WHERE truck_id = :id"),
                {"id": truck_id},
            )
            return [(row[0], row[1]) for row in found]

    now = datetime.now(UTC)
    await upkeep.check_devices(now)
    assert await alerts() == []
    for _ in range(2):
        await upkeep.check_devices(now + timedelta(hours=1))
    assert await alerts() == [("DeviceOffline", True)]
    async with sessions.begin() as session:
        await TruckRepository(session).saw_device(device_id)
    await upkeep.check_devices(now)
    assert await alerts() == [("DeviceOffline", False)]


async def test_frames_age_by_their_kind_and_a_hold_keeps_them(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    upkeep = upkeep_of(sessions, tmp_path)
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        held_device, held = await device_in(session)
        device, truck = await device_in(session)
        await TruckRepository(session).set_hold(held, held=True)
        frames = [
            (NewFrame(each, b"x", date(now, None, now), 0, sha256, new_id()), Pack(sha256, 0))
            for each, sha256 in ((device, "a" * 64), (held_device, "b" * 64))
        ]
        await FrameRepository(session).store(frames)

    async def kept() -> set[str]:
        async with sessions.begin() as session:
            return await FrameRepository(session).referenced(["a" * 64, "b" * 64])

    await upkeep.forget(now + timedelta(hours=23))
    assert await kept() == {"a" * 64, "b" * 64}
    assert await upkeep.forget(now + timedelta(hours=25)) >= 1
    assert await kept() == {"b" * 64}
    assert truck != held


async def test_pictures_without_frames_are_swept_and_others_stay(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    upkeep = upkeep_of(sessions, tmp_path)
    kept, lost = await upkeep.objects.put(b"kept"), await upkeep.objects.put(b"lost")
    for name in (kept, lost):
        os.utime(tmp_path / name[:2] / name, (0, 0))
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        device, _ = await device_in(session)
        frame = NewFrame(device, b"kept", date(now, None, now), 0, kept, new_id())
        await FrameRepository(session).store([(frame, Pack(kept, 0))])

    assert await upkeep.sweep_pictures() == 1
    assert await upkeep.objects.exists(kept)


async def test_alerts_age_with_their_incidents_unless_a_hold_keeps_them(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    upkeep = upkeep_of(sessions, tmp_path)
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        trucks = []
        for held in (True, False):
            device_id, truck_id = await device_in(session)
            await TruckRepository(session).set_hold(truck_id, held=held)
            device = await TruckRepository(session).get_device(device_id)
            await upkeep.alerting.raise_for(device, "Tamper", session)
            trucks.append(truck_id)

    async def left(table: str) -> list[TruckId]:
        async with sessions.begin() as session:
            query = text(f"SELECT truck_id FROM fleet.{table}")  # noqa: S608 (ours)
            found = await session.execute(query)
            return [row.truck_id for row in found if row.truck_id in trucks]

    await upkeep.forget(now + timedelta(days=9))
    assert sorted(await left("alerts")) == sorted(trucks)
    await upkeep.forget(now + timedelta(days=11))
    assert await left("alerts") == trucks[:1]
    assert await left("incidents") == trucks[:1]
