"""A burst of one account holds nobody else up."""

import asyncio
import gc
from uuid import uuid4

from services.netra.domain import OwnerId
from services.netra.turns import Turns


async def test_others_come_in_while_one_account_waits() -> None:
    turns, bob, eve = Turns(1), OwnerId(uuid4()), OwnerId(uuid4())
    order = []

    async def enter(owner: OwnerId, name: str) -> None:
        async with turns.of(owner):
            order.append(name)

    async with turns.of(bob):
        second = asyncio.create_task(enter(bob, "bob again"))
        await asyncio.create_task(enter(eve, "eve"))
    await second

    assert order == ["eve", "bob again"]


async def test_accounts_that_have_nothing_to_do_are_forgotten() -> None:
    turns = Turns()
    for _ in range(100):
        async with turns.of(OwnerId(uuid4())):
            pass
    gc.collect()

    assert len(turns._semaphores) == 0
