"""A drawn retina, and the pictures that `VEDETTE_ASSETS` points at."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.services.netra.analysis import drawn


@pytest.fixture(scope="session")
def retina() -> drawn.Pixels:
    """A drawn retina, sharp and well lit."""
    return drawn.fundus(np.random.default_rng(0))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of pictures; without it the test is skipped."""
    folder = os.environ.get("VEDETTE_ASSETS")
    if not folder:
        pytest.skip("VEDETTE_ASSETS does not name the pictures")
    return Path(folder)
