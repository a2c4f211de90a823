"""Coming back: what was missed is replayed in its order, and too much of it is said to be."""

import asyncio
import contextlib
import json

from sqlalchemy import text

from services.fleet.realtime.hub import MAX_REPLAYED
from shared.db import create_engine
from tests.services.fleet.sockets import heard, join, raw_socket
from tests.services.fleet.support import Mine, Person


async def test_a_client_that_comes_back_hears_first_what_it_missed(
    mine: Mine, admin: Person
) -> None:
    truck = await mine.truck()
    async with raw_socket(mine) as connection:
        await join(connection, {"token": admin.token})
        added = json.loads((await heard(connection, '42/alert,["my_response"'))[9:])[1]
    missed = [await mine.alert(truck, behavior) for behavior in ("Safe", "Unsafe", "Tamper")]
    async with raw_socket(mine) as connection:
        await join(connection, {"token": admin.token, "since": added["cursor"]})
        notices = [json.loads((await heard(connection, '42/alert,["an_alert"'))[9:])[1]]
        new = await mine.alert(truck, "Single Hand")
        notices += [
            json.loads((await heard(connection, '42/alert,["an_alert"'))[9:])[1] for _ in range(3)
        ]

    ids = [notice["event_id"] for notice in notices]
    assert [notice["alert_id"] for notice in notices] == [*missed, new]
    assert ids == sorted(ids)


async def test_who_missed_too_much_is_told_to_read_the_lists(mine: Mine, admin: Person) -> None:
    truck_id = await mine.truck_uuid(admin, await mine.truck())
    engine = create_engine(mine.database_url)
    async with engine.begin() as connection:
        first = await connection.scalar(text("SELECT coalesce(max(id), 0) FROM fleet.events"))
        await connection.execute(
            text(
                "INSERT INTO fleet.events (type, truck_id)"
                " SELECT 'test.filler', CAST(:truck AS uuid) FROM generate_series(1, :count)"
            ),
            {"truck": truck_id, "count": MAX_REPLAYED + 1},
        )
    await engine.dispose()
    # An announcement makes the process read on to the newest event.
    await mine.alert(await mine.truck())
    async with asyncio.timeout(20):
        while True:
            async with raw_socket(mine) as connection:
                await join(connection, {"token": admin.token, "since": first})
                with contextlib.suppress(TimeoutError):
                    told = await heard(connection, '42/alert,["resync"', 2)
                    break

    assert json.loads(told[9:])[1]["cursor"] > first


async def test_alerts_of_many_devices_at_once_are_all_heard_of_once(
    mine: Mine, admin: Person
) -> None:
    """Whatever order their transactions commit in: numbers become visible in their order."""
    trucks = [await mine.truck() for _ in range(8)]
    async with raw_socket(mine) as connection:
        await join(connection, {"token": admin.token})
        await heard(connection, '42/alert,["my_response"')
        opened = await asyncio.gather(
            *(mine.alert(truck, behavior) for truck in trucks for behavior in ("Unsafe", "Tamper"))
        )
        notices = [
            json.loads((await heard(connection, '42/alert,["an_alert"'))[9:])[1] for _ in opened
        ]

    ids = [notice["event_id"] for notice in notices]
    assert sorted(notice["alert_id"] for notice in notices) == sorted(opened)
    assert ids == sorted(ids)


async def test_a_process_that_was_deaf_for_a_while_tells_what_it_missed(
    mine: Mine, admin: Person
) -> None:
    """Its connection to the database is cut; what commits meanwhile is read afterwards."""
    truck = await mine.truck()
    async with raw_socket(mine) as connection:
        await join(connection, {"token": admin.token})
        await heard(connection, '42/alert,["my_response"')
        engine = create_engine(mine.database_url)
        async with engine.begin() as database:
            await database.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query ILIKE '%LISTEN%' AND datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )
            )
        await engine.dispose()
        number = await mine.alert(truck)
        notice = json.loads((await heard(connection, '42/alert,["an_alert"', 30))[9:])[1]

    assert notice["alert_id"] == number
