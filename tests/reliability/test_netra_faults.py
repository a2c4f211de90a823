"""Workers and the database die while photographs are analysed: the short form of netra_chaos."""

from tests.reliability.job_chaos import reachable_folder
from tests.reliability.netra_chaos import chaos


async def test_no_analysis_is_lost_or_done_twice_and_the_ledger_is_balanced() -> None:
    """One worker is killed, one is stopped beyond its lease, and the postmaster is killed."""
    with reachable_folder() as folder:
        found = await chaos(folder, jobs=120, rounds=1)

    assert found.statuses == {"completed": 108, "failed": 12}
    assert found.announced == {"analysis.completed": 108, "analysis.failed": 12}
    assert found.announced_twice == 0
    assert found.ledger == {"grant": 3, "charge": 120, "refund": 12}
    assert found.balanced
    assert found.spent == 108
    # The faults did hit, and no worker ended because the database went away.
    assert found.died > 0
    assert found.exits == [0, 0, 0]
