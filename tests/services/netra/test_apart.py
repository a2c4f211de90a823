"""A photograph that kills, stalls or breaks its analyser costs one process and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.netra.apart import AnalyserFailed, ApartAnalyser, StillLoading
from services.netra.settings import Settings
from shared.imaging import ImageTooLarge, Picture
from tests.holding import eventually
from tests.running import is_alive
from tests.services.netra.apart_stub import open_broken, open_odd, open_slow, open_telling
from tests.services.netra.support import DISEASED

SETTINGS = Settings(netra_analysis_timeout_s=1)


def photograph(kind: str = "jpeg") -> Picture:
    """A picture whose format tells the stub what to do."""
    return Picture(np.zeros((48, 64, 3), np.uint8), kind, 64, 48)


@pytest.fixture(scope="module")
async def analyser() -> AsyncIterator[ApartAnalyser]:
    """One process."""
    with ApartAnalyser(open_odd, SETTINGS, 1) as found:
        await found.load()
        yield found


def test_a_photograph_is_looked_at_as_in_the_own_process(analyser: ApartAnalyser) -> None:
    assert analyser.analyse(photograph()) == DISEASED


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("deadly", AnalyserFailed),
        ("endless", TimeoutError),
        ("large", ImageTooLarge),
        ("odd", AnalyserFailed),
    ],
)
def test_the_next_photograph_is_looked_at_whatever_the_last_one_did(
    analyser: ApartAnalyser, kind: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        analyser.analyse(photograph(kind))

    assert analyser.analyse(photograph()) == DISEASED


async def test_a_process_without_work_ends_and_the_next_photograph_starts_another() -> None:
    """Its networks take hundreds of megabytes."""
    hasty = Settings(netra_analysis_timeout_s=10, netra_rest_after_s=1)
    with ApartAnalyser(open_odd, hasty, 1) as found:
        await found.load()
        (first,) = found.process_ids()
        assert eventually(lambda: not is_alive(first), within_s=30)

        assert found.analyse(photograph()) == DISEASED
        assert found.process_ids() != [first]


async def test_a_process_logs_as_its_service_does(capfd: pytest.CaptureFixture[str]) -> None:
    """In JSON, under the service's name, from the level that is set."""
    with ApartAnalyser(open_telling, Settings(log_level="warning"), 1) as found:
        await found.load()

    (line,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert line["event"] == "device_lost"
    assert line["service"] == "netra"


async def test_networks_that_do_not_load_are_told_at_the_start() -> None:
    with ApartAnalyser(open_broken, SETTINGS, 1) as found:
        with pytest.raises(AnalyserFailed, match="fitted to other networks"):
            await found.load()
        with pytest.raises(StillLoading):
            await found.check()


async def test_it_is_ready_when_the_networks_are_loaded() -> None:
    """Until then the service answers, and photographs wait."""
    with ApartAnalyser(open_odd, SETTINGS, 2) as found:
        with pytest.raises(StillLoading):
            await found.check()

        await found.load()
        assert await found.check() == "2 of 2 processes"


async def test_processes_that_are_still_loading_end_with_it() -> None:
    with ApartAnalyser(open_slow, SETTINGS, 2) as found:
        pids = found.process_ids()
        loading = asyncio.create_task(found.load())
        await asyncio.sleep(0.1)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    assert not any(is_alive(pid) for pid in pids)


def test_no_process_is_left_behind() -> None:
    with ApartAnalyser(open_odd, SETTINGS, 2) as found:
        pids = found.process_ids()
        assert len(set(pids)) == 2
        assert all(is_alive(pid) for pid in pids)

    assert not any(is_alive(pid) for pid in pids)
