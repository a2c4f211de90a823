"""Whose turn it is, and what a tenant may wish for."""

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.jobs import DuplicateJob, Outcome
from shared.jobs.claims import claim_next
from tests.shared.jobs.probe import SCHEMA, TASKS, TaskRow, add_tasks

Sessions = async_sessionmaker[AsyncSession]


async def take(sessions: Sessions) -> UUID | None:
    """Claim the next job as some worker would."""
    async with sessions.begin() as session:
        claimed = await claim_next(session, TASKS, worker="test", lease_s=60)
        return None if claimed is None else claimed.job_id


async def take_all(sessions: Sessions) -> list[UUID]:
    """Claim until nothing is left."""
    taken = []
    while (job := await take(sessions)) is not None:
        taken.append(job)
    return taken


async def test_tenants_take_turns_however_much_one_of_them_queued(probe_sessions: Sessions) -> None:
    """A clinic's single picture does not wait behind a screener's thousand."""
    many = await add_tasks(probe_sessions, 4, tenant="many")
    few = await add_tasks(probe_sessions, 2, tenant="few")
    one = await add_tasks(probe_sessions, 1, tenant="one")

    tenant = {
        id_: name for name, ids in (("many", many), ("few", few), ("one", one)) for id_ in ids
    }
    order = [tenant[id_] for id_ in await take_all(probe_sessions)]
    assert order == ["few", "many", "one", "few", "many", "many", "many"]


async def test_priority_counts_within_a_tenant_and_not_between_tenants(
    probe_sessions: Sessions,
) -> None:
    """Nobody overtakes the others by calling everything urgent."""
    await add_tasks(probe_sessions, 1, tenant="a", priority=0)
    urgent = await add_tasks(probe_sessions, 2, tenant="a", priority=9)
    other = await add_tasks(probe_sessions, 1, tenant="b", priority=0)

    order = await take_all(probe_sessions)
    assert order[1] == other[0]
    assert {order[0], order[2]} == set(urgent)


async def test_a_job_moved_to_the_front_is_the_next_of_its_tenant(probe_sessions: Sessions) -> None:
    """Even before one that was moved earlier."""
    ids = await add_tasks(probe_sessions, 5)
    for id_ in (ids[3], ids[4]):
        async with probe_sessions.begin() as session:
            assert await TASKS.move_to_front(session, id_) is Outcome.DONE

    order = await take_all(probe_sessions)
    assert order[:2] == [ids[4], ids[3]]
    async with probe_sessions.begin() as session:
        assert await TASKS.move_to_front(session, ids[0]) is Outcome.NOT_NOW


async def test_what_is_paused_or_not_due_is_left_alone(probe_sessions: Sessions) -> None:
    """Neither is anybody's turn."""
    paused, waiting = await add_tasks(probe_sessions, 2)
    async with probe_sessions.begin() as session:
        await TASKS.pause(session, paused)

    assert await take_all(probe_sessions) == [waiting]


async def test_workers_that_claim_at_once_take_different_jobs(
    probe_engine: AsyncEngine, probe_sessions: Sessions
) -> None:
    """No job is taken twice and none is overlooked."""
    ids = set(await add_tasks(probe_sessions, 60))
    taken = await asyncio.gather(*(take(probe_sessions) for _ in range(60)))
    rest = await take_all(probe_sessions)

    found = [id_ for id_ in [*taken, *rest] if id_ is not None]
    assert len(found) == 60
    assert set(found) == ids


async def test_a_live_job_with_the_same_key_is_named_instead_of_queued_again(
    probe_sessions: Sessions,
) -> None:
    """The session goes on; another tenant may use the same key, and so may a later job."""
    (first,) = await add_tasks(probe_sessions, dedupe_key="same")
    await add_tasks(probe_sessions, tenant="b", dedupe_key="same")
    async with probe_sessions.begin() as session:
        with pytest.raises(DuplicateJob) as caught:
            await TASKS.add(session, TaskRow(id=uuid4(), tenant="a", dedupe_key="same"))
        assert caught.value.job_id == first
        assert await TASKS.cancel(session, first) is Outcome.DONE
        await TASKS.add(session, TaskRow(id=uuid4(), tenant="a", dedupe_key="same"))


async def test_everything_of_delivery_lies_in_the_service_s_schema(
    probe_sessions: Sessions,
) -> None:
    """Services share a database, and each has its own queue in it."""
    async with probe_sessions() as session:
        found = await session.execute(
            text(
                "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE relname LIKE 'pgqueuer%' AND relkind = 'r'"
            )
        )
        tables = {(row.nspname, row.relname) for row in found}
        fill = await session.scalar(
            text("SELECT reloptions FROM pg_class WHERE oid = 'probe.tasks'::regclass")
        )
    assert {schema for schema, _ in tables} == {SCHEMA}
    assert (SCHEMA, "pgqueuer") in tables
    assert "fillfactor=70" in (fill or [])
