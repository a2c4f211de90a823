"""The service's fixtures, for attacks on it."""

from tests.services.scancer.conftest import client, installation, served

__all__ = ["client", "installation", "served"]
