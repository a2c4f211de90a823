"""Which tokens, sessions, users and keys are refused before their time; known within a second.

Auth writes rows and notifies in one transaction. Every other process keeps the unexpired rows
in memory, hears of new ones over its own connection, and reads all of them again after an outage.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
import structlog

from shared.assertions import Refusal
from shared.db import asyncpg_dsn
from shared.tokens import Claims

log = structlog.get_logger(__name__)

CHANNEL: Final = "vedette_revocations"
#: Auth notifies here when its set of public keys has changed.
KEYS_CHANNEL: Final = "vedette_keys"
#: A quiet connection is asked this often whether it still lives.
HEARTBEAT_S: Final = 5.0
#: Without a living connection for this long, nobody's token can be called unrevoked.
STALE_AFTER_S: Final = 60.0
_RECONNECT_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_CONNECT_TIMEOUT_S: Final = 5.0

_SELECT: Final = """
    SELECT id, kind, value, issued_before, inactive, expires_at
    FROM auth.revocations WHERE expires_at > now() ORDER BY id
"""

_EXISTS: Final = "SELECT to_regclass('auth.revocations') IS NOT NULL"
_FIRST_START_PAUSE_S: Final = 0.1

#: What asyncpg raises when the database is away, restarting or not migrated yet.
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

RevokedKind = Literal["token", "session", "user", "key"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """One decision to refuse what was valid; instants are seconds since 1970, UTC."""

    id: int
    kind: RevokedKind
    value: str
    """A token id (or an API key's id), a session id, a user id, or the id of a signing key."""
    issued_before: float | None
    """For a user: only tokens issued before this are refused; later ones are good."""
    inactive: bool
    """For a user: the account is disabled, so that every token of it is refused."""
    expires_at: float
    """After this nothing that it refuses could be valid anyway."""

    def to_json(self) -> str:
        """The notification's payload."""
        return json.dumps(
            {name: getattr(self, name) for name in self.__dataclass_fields__},
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> "Revocation":
        """Read a notification's payload."""
        return cls(**json.loads(text))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Revocation":
        """Read a row of `auth.revocations`."""
        issued_before = record["issued_before"]
        return cls(
            id=record["id"],
            kind=record["kind"],
            value=record["value"],
            issued_before=None if issued_before is None else issued_before.timestamp(),
            inactive=record["inactive"],
            expires_at=record["expires_at"].timestamp(),
        )


@dataclass(frozen=True, slots=True)
class _User:
    decided_by: int
    issued_before: float
    inactive: bool


class Revocations:
    """What is revoked, in memory, and the connection that keeps it true."""

    def __init__(self, *, stale_after_s: float = STALE_AFTER_S) -> None:
        self._stale_after_s = stale_after_s
        self._confirmed_at: float | None = None
        self._known: dict[int, Revocation] = {}
        self._values: dict[RevokedKind, set[str]] = {"token": set(), "session": set(), "key": set()}
        self._users: dict[str, _User] = {}
        self._callbacks: list[Callable[[Revocation], None]] = []
        self._key_callbacks: list[Callable[[], None]] = []
        self._attempted = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def listen(
        cls,
        database_url: str,
        *,
        stale_after_s: float = STALE_AFTER_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> AsyncIterator["Revocations"]:
        """Keep in step with the database until the block ends.

        Enters after the first attempt to connect, whether or not it succeeded: `is_fresh` tells.
        """
        revocations = cls(stale_after_s=stale_after_s)
        following = asyncio.create_task(revocations._follow(database_url, heartbeat_s))
        try:
            await revocations._attempted.wait()
            yield revocations
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    @property
    def is_fresh(self) -> bool:
        """Whether the database confirmed recently that nothing was missed.

        When it is false, callers refuse what they cannot check (503), they do not let it in.
        """
        return (
            self._confirmed_at is not None
            and time.monotonic() - self._confirmed_at < self._stale_after_s
        )

    def refusal(self, claims: Claims) -> Refusal | None:
        """Why `claims` are refused though their token verifies, or None when they are good."""
        values = self._values
        if (
            claims.token_id in values["token"]
            or claims.key_id in values["key"]
            or (claims.session_id is not None and claims.session_id in values["session"])
        ):
            return Refusal.REVOKED
        return self.user_refusal(claims.subject, issued_at=claims.issued_at)

    def user_refusal(self, subject: str, *, issued_at: float) -> Refusal | None:
        """Why nothing that was issued to `subject` at `issued_at` is accepted, or None."""
        user = self._users.get(subject)
        if user is None:
            return None
        if user.inactive:
            return Refusal.INACTIVE
        return Refusal.REVOKED if issued_at < user.issued_before else None

    def on_revoked(self, callback: Callable[[Revocation], None]) -> None:
        """Call `callback` for every revocation that becomes known from here on.

        It runs on the event loop and must return at once.
        """
        self._callbacks.append(callback)

    def on_keys_changed(self, callback: Callable[[], None]) -> None:
        """Call `callback` when auth's key set has changed, or may have during an outage.

        A verifier that fetches the set then knows every key before it signs anything.
        """
        self._key_callbacks.append(callback)

    async def _follow(self, database_url: str, heartbeat_s: float) -> None:
        failures = 0
        while True:
            try:
                async with _connection(database_url) as connection:
                    await connection.add_listener(CHANNEL, self._on_notification)
                    await connection.add_listener(KEYS_CHANNEL, self._on_keys_notification)
                    while not await connection.fetchval(_EXISTS):
                        # A first start: auth is about to make its tables.
                        self._attempted.set()
                        await asyncio.sleep(_FIRST_START_PAUSE_S)
                    # LISTEN comes before the reading: what commits in between is heard.
                    self._read(await connection.fetch(_SELECT))
                    self._confirm()
                    self._on_keys_notification()
                    failures = 0
                    await self._watch(connection, heartbeat_s)
            except _LOST as error:
                self._attempted.set()
                log.warning("revocations_disconnected", error=type(error).__name__)
                delay_s = _RECONNECT_DELAYS_S[min(failures, len(_RECONNECT_DELAYS_S) - 1)]
                failures += 1
                await asyncio.sleep(delay_s)

    async def _watch(self, connection: asyncpg.Connection, heartbeat_s: float) -> None:
        """Confirm that the connection lives until it does not, and raises."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(heartbeat_s):
                    await lost.wait()
            await connection.fetchval("SELECT 1", timeout=_CONNECT_TIMEOUT_S)
            self._confirm()
            self._forget_expired()

    def _confirm(self) -> None:
        self._confirmed_at = time.monotonic()
        self._attempted.set()

    def _on_notification(self, *arguments: object) -> None:
        self._learn(Revocation.from_json(str(arguments[-1])))

    def _on_keys_notification(self, *_: object) -> None:
        for callback in self._key_callbacks:
            callback()

    def _read(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self._learn(Revocation.from_record(record))

    def _learn(self, revocation: Revocation) -> None:
        if revocation.id in self._known:
            return
        self._known[revocation.id] = revocation
        self._apply(revocation)
        for callback in self._callbacks:
            callback(revocation)

    def _apply(self, revocation: Revocation) -> None:
        if revocation.kind != "user":
            self._values[revocation.kind].add(revocation.value)
            return
        earlier = self._users.get(revocation.value, _User(0, 0.0, False))
        decided_by, inactive = max(
            (earlier.decided_by, earlier.inactive), (revocation.id, revocation.inactive)
        )
        issued_before = max(earlier.issued_before, revocation.issued_before or 0.0)
        self._users[revocation.value] = _User(decided_by, issued_before, inactive)

    def _forget_expired(self) -> None:
        now = time.time()
        living = {id_: known for id_, known in self._known.items() if known.expires_at > now}
        if len(living) == len(self._known):
            return
        self._known = living
        for values in self._values.values():
            values.clear()
        self._users.clear()
        for revocation in living.values():
            self._apply(revocation)


@contextlib.asynccontextmanager
async def _connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(asyncpg_dsn(database_url), timeout=_CONNECT_TIMEOUT_S)
    try:
        yield connection
    finally:
        connection.terminate()
