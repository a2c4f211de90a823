"""Random digits for names that every request needs."""

import os
from typing import Final

_FETCHED_BYTES: Final = 4096


class RandomDigits:
    """Hexadecimal digits from the system's generator, fetched many at a time."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self, count: int) -> str:
        """`count` digits that were never given before, from an event loop."""
        end = self._at + count
        if end > len(self._digits):
            self._digits = os.urandom(_FETCHED_BYTES).hex()
            self._at, end = 0, count
        taken = self._digits[self._at : end]
        self._at = end
        return taken
