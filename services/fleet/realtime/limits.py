"""How much one client may ask of a live connection."""

import time
from collections import Counter
from typing import Final

#: Bytes of one request or message from a client: tokens and a few names.
MAX_MESSAGE_BYTES: Final = 16 * 1024
MAX_PACKETS_IN_PAYLOAD: Final = 16
#: A client says a handful of things when it comes and a heartbeat afterwards.
MESSAGES_PER_S: Final = 10.0
MESSAGES_AT_ONCE: Final = 30
#: Who has not shown a token by then is ended.
UNADMITTED_S: Final = 30.0


class Places:
    """How many connections there are, altogether and by network address."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._by_address: Counter[str] = Counter()
        self._total = 0

    def take(self, address: str) -> bool:
        """Take a place; False when there is none."""
        if self._total >= self._most or self._by_address[address] >= self._most_of_address:
            return False
        self._by_address[address] += 1
        self._total += 1
        return True

    def give_back(self, address: str) -> None:
        """Leave a place."""
        self._total -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]


class Bucket:
    """What a client has left to say."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(MESSAGES_AT_ONCE)
        self._at = time.monotonic()

    def take(self) -> bool:
        """Take one; False when nothing is left."""
        now = time.monotonic()
        self._left = min(MESSAGES_AT_ONCE, self._left + (now - self._at) * MESSAGES_PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
