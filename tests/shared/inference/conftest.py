"""A right package to start from, and an engine that stops at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.inference import Engine
from tests.shared.inference.packages import PackageBuilder


@pytest.fixture
def package(tmp_path: Path) -> PackageBuilder:
    """A package that loads unless the test changes it."""
    return PackageBuilder(tmp_path / "package")


@pytest.fixture
def cpu_engine() -> Iterator[Engine]:
    """Two callers on the processor."""
    with Engine("cpu", threads=2) as engine:
        yield engine
