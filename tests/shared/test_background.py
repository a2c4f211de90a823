"""Work beside a block ends with it."""

import asyncio

import pytest

from shared.background import running


async def test_work_goes_on_beside_the_block_and_ends_with_it() -> None:
    seen = asyncio.Event()

    async def work() -> None:
        seen.set()
        await asyncio.Event().wait()

    async with running(work()) as task:
        await seen.wait()
        assert not task.done()

    assert task.cancelled()


async def test_work_that_failed_says_so_at_the_end() -> None:
    """A fault of ours must not vanish with the task."""

    async def work() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        async with running(work()) as task:
            await asyncio.wait((task,))
