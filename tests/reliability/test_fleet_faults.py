"""Trucks send while processes and the database die: nothing acknowledged is lost, nothing twice."""

import asyncio

from tests.reliability.fleet_chaos import run


async def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice() -> None:
    """Fleet, gateway, auth and the postmaster each die once; the rows are exactly the messages."""
    async with asyncio.timeout(240):
        outcome = await run(6, 5, 3, rounds=1, pause_s=0.8, outage_s=1)

    assert outcome.ledger.rejected == []
    assert outcome.ledger.dropped == 0
    assert outcome.said == outcome.stored
    assert outcome.missing_pictures == 0
    assert len(outcome.said["frames"]) >= 6 * 3
