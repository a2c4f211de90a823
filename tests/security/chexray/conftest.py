"""The service around stubs, as chexray's own tests have it."""

from tests.services.chexray.conftest import as_bob, as_eve, bench, bob, client

__all__ = ["as_bob", "as_eve", "bench", "bob", "client"]
