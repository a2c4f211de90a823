"""The databases that every other test stands on."""

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

Sessions = async_sessionmaker[AsyncSession]


async def count_tables(sessions: Sessions) -> int:
    """How many tables called `leftover` there are."""
    async with sessions() as session:
        query = text("SELECT count(*) FROM pg_tables WHERE tablename = 'leftover'")
        return int((await session.execute(query)).scalar_one())


async def test_a_commit_inside_a_test_is_visible_to_its_other_sessions(sessions: Sessions) -> None:
    """Commits are savepoints of the test's own transaction."""
    async with sessions.begin() as session:
        await session.execute(text("CREATE TABLE leftover (id int)"))

    assert await count_tables(sessions) == 1


async def test_what_a_test_committed_is_gone_afterwards(sessions: Sessions) -> None:
    """Tests can run in any order."""
    assert await count_tables(sessions) == 0


async def test_a_scratch_database_is_a_database_of_its_own(
    scratch_database: str, database_url: str
) -> None:
    """Two connections see each other's commits and notices there, and the shared one does not."""
    connection = await asyncpg.connect(scratch_database)
    try:
        await connection.execute("CREATE TABLE leftover (id int)")
        name = await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()

    assert scratch_database != database_url
    assert f"/{name}?" in scratch_database or scratch_database.endswith(f"/{name}")
