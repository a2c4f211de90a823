"""Auth's public keys, kept at hand so that tokens are checked here, even while auth is away."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from shared.problems import Unavailable
from shared.tokens import KeySet, KeySetRefused, TokenDoor

log = structlog.get_logger(__name__)

#: A token may name a key that nobody has; a thousand of them cause one question in this time.
UNKNOWN_KEY_PAUSE_S: Final = 30.0
_FIRST_TRY_S: Final = 0.25
_LONGEST_TRY_S: Final = 5.0

#: Returns the document at `/.well-known/jwks.json`, or raises `KeysNotFetched`.
FetchKeys = Callable[[], Awaitable[bytes]]


class KeysNotFetched(Exception):
    """Auth did not give its key set."""


class KeysAway(Unavailable):
    """There is no key set recent enough to check tokens with."""

    slug, title = "keys-unavailable", "Tokens cannot be checked"


class KeyRing:
    """The newest key set that auth gave, behind the strict token door."""

    def __init__(
        self,
        issuer: str,
        fetch: FetchKeys,
        time: Callable[[], float],
        *,
        refresh_s: float = 300,
        max_age_s: float = 86_400,
    ) -> None:
        self.door = TokenDoor(issuer, KeySet({}))
        self._issuer = issuer
        self._fetch = fetch
        self._time = time
        self._refresh_s = refresh_s
        self._max_age_s = max_age_s
        self._fetched_at: float | None = None
        self._usable_until = float("-inf")
        self._asked_for_unknown_at = -UNKNOWN_KEY_PAUSE_S
        self._fetching: asyncio.Task[bool] | None = None
        self._changed = asyncio.Event()

    @property
    def age_s(self) -> float:
        """How long ago auth gave the set; infinite before the first."""
        return float("inf") if self._fetched_at is None else self._time() - self._fetched_at

    @property
    def is_usable(self) -> bool:
        """Whether the set is recent enough to check tokens with."""
        return self._time() <= self._usable_until

    def require_fresh(self) -> None:
        """Make sure that the set may still be used.

        Raises:
            KeysAway: auth has not been heard of for longer than a set is good.
        """
        if not self.is_usable:
            raise KeysAway("Tokens cannot be checked at the moment.")

    async def learn_of(self, key_id: str) -> None:
        """Ask auth again when a token names a key that is not in the set, but rarely."""
        if key_id in self.door.keys.key_ids:
            return
        now = self._time()
        if now - self._asked_for_unknown_at < UNKNOWN_KEY_PAUSE_S:
            return
        self._asked_for_unknown_at = now
        await self.refresh()

    async def refresh(self) -> bool:
        """Fetch the set; callers at the same time share one fetch. Tells whether it worked."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._refresh())
        return await asyncio.shield(self._fetching)

    async def _refresh(self) -> bool:
        try:
            keys = KeySet.from_jwks(json.loads(await self._fetch()))
        except (KeysNotFetched, KeySetRefused, ValueError, RecursionError) as error:
            log.warning("keys_not_fetched", error=type(error).__name__)
            return False
        self.door = TokenDoor(self._issuer, keys)
        self._fetched_at = self._time()
        self._usable_until = self._fetched_at + self._max_age_s
        return True

    def refresh_soon(self) -> None:
        """Have `keep_fresh` fetch at once: auth says that its set has changed."""
        self._changed.set()

    async def keep_fresh(self) -> None:
        """Fetch the set now and then, for ever; sooner after a failure or a change."""
        pause_s = _FIRST_TRY_S
        while True:
            self._changed.clear()
            if await self.refresh():
                pause_s = _FIRST_TRY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._refresh_s):
                        await self._changed.wait()
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_TRY_S)
