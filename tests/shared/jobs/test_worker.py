"""A job is done once, by whoever has it, and says at every moment what is true of it."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.jobs import Claim, ClaimLost, JobFailed, Outcome, RetryLater
from tests.shared.jobs.probe import (
    TASKS,
    EffectRow,
    Probe,
    TaskRow,
    add_tasks,
    effects_of,
    task,
    until_status,
    working,
)

Sessions = async_sessionmaker[AsyncSession]
UUID_ONE = UUID(int=1)


async def wait_for_ever(claim: Claim) -> None:
    """A job that only ends when it is stopped."""
    async with claim.effect() as effect:
        effect.session.add(EffectRow(task_id=claim.job_id, what="begun"))
    await asyncio.Event().wait()


async def test_a_job_is_done_and_its_ticket_is_gone(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """The row says completed; PgQueuer holds nothing any more."""

    async def act(claim: Claim) -> Mapping[str, Any]:
        await claim.progress(0.5)
        return {"answer": 42}

    async with working(probe_engine, probe_url, Probe(act)):
        (id_,) = await add_tasks(probe_sessions)
        row = await until_status(probe_sessions, id_, "completed")

    assert (row.result, row.progress, row.attempts, row.fence) == ({"answer": 42}, 1.0, 1, 1)
    assert row.lease_until is None
    assert row.started_at is not None
    assert row.finished_at is not None
    async with probe_sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM probe.pgqueuer")) == 0


async def test_a_job_that_is_rolled_back_was_never_queued(probe_sessions: Sessions) -> None:
    """The row and the word of it are one transaction."""
    async with probe_sessions() as session:
        await TASKS.add(session, TaskRow(id=UUID_ONE, tenant="a"))
        await session.rollback()
        assert await session.scalar(text("SELECT count(*) FROM probe.pgqueuer")) == 0
        assert await session.scalar(text("SELECT count(*) FROM probe.tasks")) == 0


async def test_an_idle_worker_begins_a_job_at_once(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """It hears of it; it does not poll. The median of nine is far below the poll of ten seconds."""
    async with working(probe_engine, probe_url, Probe()):
        waits = []
        for _ in range(9):
            (id_,) = await add_tasks(probe_sessions)
            row = await until_status(probe_sessions, id_, "completed")
            assert row.claimed_at is not None
            waits.append((row.claimed_at - row.created_at).total_seconds())

    assert sorted(waits)[4] < 1


async def test_a_failing_handler_is_tried_again_and_then_given_up(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """Five failed attempts, then the service is told once, in the transaction of the failure."""

    async def act(_: Claim) -> None:
        raise RetryLater("the instrument is cold")

    async with working(probe_engine, probe_url, Probe(act)):
        (id_,) = await add_tasks(probe_sessions)
        row = await until_status(probe_sessions, id_, "failed")

    assert (row.attempts, row.failures, row.deaths) == (5, 4, 0)
    assert row.error_code == "gave-up"
    assert row.error == "5 attempts failed; the last one: the instrument is cold"
    assert await effects_of(probe_sessions, id_) == ["failed: gave-up"]


async def test_a_hopeless_job_fails_at_once(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """`JobFailed` is final."""

    async def act(_: Claim) -> None:
        raise JobFailed("unreadable", "This is no picture.")

    async with working(probe_engine, probe_url, Probe(act)):
        (id_,) = await add_tasks(probe_sessions)
        row = await until_status(probe_sessions, id_, "failed")

    assert (row.attempts, row.error_code, row.error) == (1, "unreadable", "This is no picture.")
    assert await effects_of(probe_sessions, id_) == ["failed: unreadable"]


async def test_a_running_job_is_cancelled_within_a_moment(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """The worker hears of it, stops the handler, and tells the service in one transaction."""
    probe = Probe(wait_for_ever)
    async with working(probe_engine, probe_url, probe):
        (id_,) = await add_tasks(probe_sessions)
        await probe.begun.get()
        async with probe_sessions.begin() as session:
            assert await TASKS.cancel(session, id_) is Outcome.ASKED
        await until_status(probe_sessions, id_, "cancelled")

    assert (await effects_of(probe_sessions, id_))[-1] == "cancelled"


async def test_a_running_job_is_paused_and_goes_on_when_resumed(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """What its effects wrote stays; the next run has another fence."""
    probe = Probe(wait_for_ever)
    async with working(probe_engine, probe_url, probe):
        (id_,) = await add_tasks(probe_sessions)
        first = await probe.begun.get()
        async with probe_sessions.begin() as session:
            assert await TASKS.pause(session, id_) is Outcome.ASKED
        await until_status(probe_sessions, id_, "paused")
        async with probe_sessions.begin() as session:
            assert await TASKS.resume(session, id_) is Outcome.DONE
        second = await probe.begun.get()

    assert second.job_id == first.job_id
    assert second.fence > first.fence


async def test_a_waiting_job_is_paused_resumed_and_cancelled_by_its_row_alone(
    probe_sessions: Sessions,
) -> None:
    """No worker is needed for that."""
    (id_,) = await add_tasks(probe_sessions)
    wishes = (TASKS.pause, TASKS.resume, TASKS.cancel)
    statuses = []
    for wish in wishes:
        async with probe_sessions.begin() as session:
            assert await wish(session, id_) is Outcome.DONE
        statuses.append((await task(probe_sessions, id_)).status)
    async with probe_sessions.begin() as session:
        again = [await wish(session, id_) for wish in wishes]

    assert statuses == ["paused", "queued", "cancelled"]
    assert again == [Outcome.NOT_NOW] * 3


async def test_an_effect_of_a_lost_claim_writes_nothing(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """Another worker has the job as soon as the fence has changed."""
    refused = asyncio.Event()

    async def act(claim: Claim) -> None:
        async with probe_sessions.begin() as session:
            await session.execute(
                update(TaskRow).where(TaskRow.id == claim.job_id).values(fence=TaskRow.fence + 1)
            )
        try:
            async with claim.effect() as effect:
                effect.session.add(EffectRow(task_id=claim.job_id, what="too late"))
        except ClaimLost:
            refused.set()
            raise

    async with working(probe_engine, probe_url, Probe(act)):
        (id_,) = await add_tasks(probe_sessions)
        await asyncio.wait_for(refused.wait(), 20)

    assert await effects_of(probe_sessions, id_) == []


async def test_a_job_whose_workers_die_is_poison_after_the_third(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """A death is a lease that ran out; attempts are counted when the job is claimed."""

    async def act(claim: Claim) -> None:
        # What a dead worker leaves: a running job whose lease is over and stays over.
        while claim.stop is None:
            async with probe_sessions.begin() as session:
                await session.execute(
                    update(TaskRow)
                    .where(TaskRow.id == claim.job_id, TaskRow.fence == claim.fence)
                    .values(lease_until=text("now() - interval '1 second'"))
                )
            await asyncio.sleep(0.02)

    async with working(probe_engine, probe_url, Probe(act), concurrency=4):
        (id_,) = await add_tasks(probe_sessions)
        row = await until_status(probe_sessions, id_, "failed")

    assert (row.attempts, row.deaths, row.error_code) == (3, 3, "poison")
    assert await effects_of(probe_sessions, id_) == ["failed: poison"]


async def test_a_job_whose_ticket_was_lost_gets_another(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """The row alone is enough for a job to be done."""
    (id_,) = await add_tasks(
        probe_sessions,
        queued_at=text("now() - interval '1 minute'"),
        run_after=text("now() - interval '1 minute'"),
    )
    async with probe_sessions.begin() as session:
        await session.execute(text("DELETE FROM probe.pgqueuer"))
    async with working(probe_engine, probe_url, Probe()):
        await until_status(probe_sessions, id_, "completed")


async def test_a_stopping_worker_hands_its_jobs_back(
    probe_engine: AsyncEngine, probe_url: str, probe_sessions: Sessions
) -> None:
    """They wait for the next worker at once, and nothing is held against them."""
    probe = Probe(wait_for_ever)
    async with working(probe_engine, probe_url, probe):
        (id_,) = await add_tasks(probe_sessions)
        await probe.begun.get()
    handed_back = await task(probe_sessions, id_)
    async with working(probe_engine, probe_url, Probe()):
        done = await until_status(probe_sessions, id_, "completed")

    assert (handed_back.status, handed_back.deaths, handed_back.failures) == ("queued", 0, 0)
    assert done.attempts == 2
