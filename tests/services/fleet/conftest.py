"""Fleet's fixtures."""

from tests.services.fleet.fixtures import admin, mine

__all__ = ["admin", "mine"]
