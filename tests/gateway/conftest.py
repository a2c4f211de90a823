"""One running gateway for the tests of a module, as they only ask it things."""

from collections.abc import Iterator

import pytest

from tests.gateway.support import Rig, rig


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway before a service that remembers what it was asked."""
    with rig(tmp_path_factory.mktemp("keys"), rate_limit_scale=1000) as running:
        yield running
