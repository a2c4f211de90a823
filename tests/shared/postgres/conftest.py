"""Whom the launcher runs as in these tests, and folders that such a user may use."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.lifeline import Account
from shared.postgres.home import unreachable_part
from tests.database import ROOT
from tests.holding import wheel_programs

_USERS = {"ourselves": None, "nobody": Account(65534, 65534)}


@pytest.fixture(params=_USERS)
def account(request: pytest.FixtureRequest) -> Account | None:
    """The user that runs the launcher: ourselves, and as root an ordinary one as well."""
    user = _USERS[request.param]
    if user is not None:
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        for needed in (ROOT / "shared", wheel_programs() / "postgres"):
            if unreachable_part(needed, user) is not None:
                pytest.skip(f"an ordinary user cannot reach {needed}")
    return user


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="vedette-test-")).resolve()


@pytest.fixture
def place(account: Account | None) -> Iterator[Path]:
    """An empty folder of the launcher's user that others may pass through."""
    folder = _folder()
    folder.chmod(0o711)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def our_place() -> Iterator[Path]:
    """An empty folder of our own that others may pass through."""
    folder = _folder()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
