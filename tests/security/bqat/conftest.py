"""The attacks on bqat meet the same bqat as its own tests."""

from tests.services.bqat.conftest import bqat, me

__all__ = ["bqat", "me"]
