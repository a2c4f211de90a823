"""Netra around stubs, on real PostgreSQL and a real object folder."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shared.assertions import Caller
from shared.objects import LocalObjects
from tests.services.netra.support import Bench, as_caller, caller


@pytest.fixture
def bench(sessions: async_sessionmaker[AsyncSession], tmp_path: Path) -> Bench:
    """The parts of the service, before it starts."""
    return Bench(sessions, LocalObjects(tmp_path / "objects"))


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """The running service."""
    async with bench.serve() as client:
        yield client


@pytest.fixture
def bob() -> Caller:
    """A clinician."""
    return caller(username="bob")


@pytest.fixture
def as_bob(bob: Caller) -> Mapping[str, str]:
    """The gateway's word for it."""
    return as_caller(bob)


@pytest.fixture
def as_eve() -> Mapping[str, str]:
    """Another clinician."""
    return as_caller(caller(username="eve"))
