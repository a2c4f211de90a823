"""Who may try a password now: a rate per address, and a growing delay per account.

The delay counts failures from addresses that the account has never signed in from together, and
those from each known address apart. Whoever guesses from elsewhere slows down all strangers, and
never the owner at the usual desk.
"""

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.domain import account_key
from services.auth.errors import HashingBusy, TooManyAttempts
from services.auth.repositories.attempts import AttemptRepository

#: Failures that cost nothing: a person who mistypes is no attacker.
FREE_FAILURES: Final = 5
LONGEST_DELAY: Final = timedelta(minutes=15)
FAILURES_FORGOTTEN_AFTER: Final = timedelta(days=1)
MAX_WAITING_FOR_A_TURN: Final = 64
ADDRESS_FORGOTTEN_AFTER: Final = timedelta(days=90)
_UNKNOWN: Final = ""
_MINUTE: Final = timedelta(minutes=1)


def delay_after(failures: int, free: int = FREE_FAILURES) -> timedelta:
    """How long an account takes no login after so many failures: 1 s, 2 s, 4 s … 15 min."""
    if failures < free:
        return timedelta(0)
    doublings = min(failures - free, 20)
    return min(timedelta(seconds=2**doublings), LONGEST_DELAY)


def network_of(address: str) -> str:
    """What one party is taken to be: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that may be tried, and how its failure is counted."""

    account: str
    address: str
    counted_as: str


class Turns:
    """Lets one of those that ask for the same key go ahead at a time, in this process."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], tuple[anyio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def take(self, key: tuple[str, str]) -> AsyncIterator[None]:
        """Wait for the turn, and have it until the block ends.

        Raises:
            HashingBusy: too many wait already.
        """
        lock, holders = self._locks.get(key) or (anyio.Lock(), 0)
        if holders >= MAX_WAITING_FOR_A_TURN:
            raise HashingBusy("Too many logins of this account are being checked.")
        self._locks[key] = lock, holders + 1
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks.pop(key)
            if holders > 1:
                self._locks[key] = lock, holders - 1


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Decides whether a login may be tried, and remembers how it went."""

    sessions: async_sessionmaker[AsyncSession]
    clock: Callable[[], datetime]
    logins_per_minute: int
    scale: float
    """Multiplies every limit; 0 switches them off."""
    turns: Turns = field(default_factory=Turns)

    async def admit_address(self, address: str) -> None:
        """Take one login from what the address has left.

        Raises:
            TooManyAttempts: it has none left for now.
        """
        if self.scale == 0:
            return
        burst = max(1, round(self.logins_per_minute * self.scale))
        now = self.clock()
        async with self.sessions.begin() as session:
            open_at = await AttemptRepository(session).take(
                network_of(address), now, _MINUTE / burst, burst
            )
        if open_at is not None:
            raise TooManyAttempts(
                "Too many passwords from this address.",
                retry_after_s=(open_at - now).total_seconds(),
            )

    @contextlib.asynccontextmanager
    async def turn(self, username: str, address: str) -> AsyncIterator[Attempt]:
        """Let a login of one account be tried, whether or not the account exists.

        Logins that are counted together take turns, so that each sees what the one before it
        has counted: a hundred guesses at once are a hundred, and as many right ones all pass.

        Raises:
            TooManyAttempts: there were failures, and the delay is not over.
            HashingBusy: too many others wait for their turn.
        """
        account, network = account_key(username), network_of(address)
        if self.scale == 0:
            yield Attempt(account, network, _UNKNOWN)
            return
        async with self.sessions.begin() as session:
            is_known = await AttemptRepository(session).is_known(account, network)
        attempt = Attempt(account, network, network if is_known else _UNKNOWN)
        async with self.turns.take((account, attempt.counted_as)):
            await self._require_no_delay(attempt)
            yield attempt

    async def _require_no_delay(self, attempt: Attempt) -> None:
        now = self.clock()
        async with self.sessions.begin() as session:
            until = await AttemptRepository(session).blocked_until(
                attempt.account, attempt.counted_as
            )
        if until is not None and until > now:
            raise TooManyAttempts(
                "Too many wrong passwords for this account.",
                retry_after_s=(until - now).total_seconds(),
            )

    async def failed(self, attempt: Attempt, session: AsyncSession) -> None:
        """Count a failure; the next login may have to wait."""
        if self.scale == 0:
            return
        now = self.clock()
        attempts = AttemptRepository(session)
        failures, failed_at = await attempts.lock_failures(attempt.account, attempt.counted_as, now)
        if now - failed_at > FAILURES_FORGOTTEN_AFTER:
            failures = 0
        delay = delay_after(failures + 1, max(1, round(FREE_FAILURES * self.scale)))
        await attempts.count(attempt.account, attempt.counted_as, failures + 1, now, now + delay)

    async def succeeded(self, attempt: Attempt, session: AsyncSession) -> None:
        """Forget the failures and know the address, together with what the login changes."""
        await AttemptRepository(session).succeed(
            attempt.account, attempt.address, attempt.counted_as, self.clock()
        )

    async def know(self, username: str, address: str, session: AsyncSession) -> None:
        """Know an address from which an account was made; its owner is at home there."""
        network = network_of(address)
        await AttemptRepository(session).succeed(
            account_key(username), network, network, self.clock()
        )
