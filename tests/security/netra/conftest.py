"""The service around stubs, as netra's own tests have it."""

from tests.services.netra.conftest import as_bob, as_eve, bench, bob, client

__all__ = ["as_bob", "as_eve", "bench", "bob", "client"]
