"""A few submissions of one account at once; the others wait without a database connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from services.netra.domain import OwnerId

#: Enough to keep disk and database busy for one account; its row serialises the rest anyway.
AT_ONCE = 4


class Turns:
    """Lets everybody in, a few at a time for each account.

    Submissions of one account end up waiting for its row. Those that wait here instead hold no
    connection, so that a burst of one account leaves connections to all others.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._semaphores: WeakValueDictionary[OwnerId, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, owner: OwnerId) -> AsyncIterator[None]:
        """Wait for a turn of `owner`."""
        semaphore = self._semaphores.get(owner)
        if semaphore is None:
            semaphore = self._semaphores[owner] = asyncio.Semaphore(self._at_once)
        async with semaphore:
            yield
