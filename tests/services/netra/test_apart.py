"""A photograph that kills, stalls or breaks its analyser costs one process and nothing else."""

from collections.abc import Iterator

import numpy as np
import pytest

from services.netra.apart import AnalyserFailed, ApartAnalyser
from services.netra.settings import Settings
from shared.imaging import ImageTooLarge, Picture
from tests.holding import eventually
from tests.running import is_alive
from tests.services.netra.apart_stub import open_broken, open_odd
from tests.services.netra.support import DISEASED

SETTINGS = Settings(netra_analysis_timeout_s=1)


def photograph(kind: str = "jpeg") -> Picture:
    """A picture whose format tells the stub what to do."""
    return Picture(np.zeros((48, 64, 3), np.uint8), kind, 64, 48)


@pytest.fixture(scope="module")
def analyser() -> Iterator[ApartAnalyser]:
    """One process."""
    with ApartAnalyser(open_odd, SETTINGS, 1) as found:
        yield found


def test_a_photograph_is_looked_at_as_in_the_own_process(analyser: ApartAnalyser) -> None:
    assert analyser.analyse(photograph()) == DISEASED
    assert analyser.evidence == "research"


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


def test_a_process_without_work_ends_and_the_next_photograph_starts_another() -> None:
    """Its networks take hundreds of megabytes."""
    hasty = Settings(netra_analysis_timeout_s=10, netra_rest_after_s=1)
    with ApartAnalyser(open_odd, hasty, 1) as found:
        (first,) = found.process_ids()
        assert eventually(lambda: not is_alive(first), within_s=30)

        assert found.analyse(photograph()) == DISEASED
        assert found.process_ids() != [first]


def test_networks_that_do_not_load_are_told_at_the_start() -> None:
    with pytest.raises(AnalyserFailed, match="fitted to other networks"):
        ApartAnalyser(open_broken, SETTINGS, 1)


def test_no_process_is_left_behind() -> None:
    with ApartAnalyser(open_odd, SETTINGS, 2) as found:
        pids = found.process_ids()
        assert len(set(pids)) == 2
        assert all(is_alive(pid) for pid in pids)

    assert not any(is_alive(pid) for pid in pids)
