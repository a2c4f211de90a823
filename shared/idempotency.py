"""`Idempotency-Key`: a request that a client repeats is done once, and answered alike each time.

A service has a table of its own, whose rows name what the first request made::

    class IdempotencyKeyRow(IdempotencyKeyColumns, Base):
        __table_args__ = ({"schema": "netra"},)
        owner: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
        analysis_id: Mapped[UUID] = mapped_column(made_by_request("netra.analyses.id"), index=True)

    KEYS = IdempotencyKeys(IdempotencyKeyRow, "analysis_id")

and claims the key in the transaction that makes it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Table, Text, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.requests import Request

from shared.problems import Problem

#: After this nobody repeats a request any more.
KEYS_LIVE: Final = timedelta(days=1)
_MAX_CHARACTERS: Final = 255

#: The header, as OpenAPI describes it.
PARAMETER: Final[dict[str, Any]] = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": _MAX_CHARACTERS},
    "description": "Repeating a request with its key repeats its answer.",
}
#: On an answer that an earlier request was given already.
REPLAYED: Final = {"Idempotency-Replayed": "true"}


class IdempotencyKeyInvalid(Problem):
    """The `Idempotency-Key` header is empty, too long or not printable ASCII."""

    status, slug, title = 422, "idempotency-key-invalid", "Invalid idempotency key"


class IdempotencyKeyReused(Problem):
    """The same `Idempotency-Key` came with something else."""

    status, slug, title = 422, "idempotency-key-reused", "Idempotency key reused"


def idempotency_key_of(request: Request) -> str | None:
    """The header, where there is one.

    Raises:
        IdempotencyKeyInvalid: it is no key.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= _MAX_CHARACTERS and key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid(
            f"An Idempotency-Key has 1 to {_MAX_CHARACTERS} printable ASCII characters."
        )
    return key


@dataclass(frozen=True, slots=True)
class Repeatable:
    """How a request is told from another one that comes with the same key."""

    key: str
    request_sha256: str

    @classmethod
    def of(cls, key: str | None, *content: object) -> Self | None:
        """A request with this content, by the content's `repr`; None without a key."""
        if key is None:
            return None
        return cls(key, hashlib.sha256(repr(content).encode()).hexdigest())


class IdempotencyKeyColumns:
    """What every service's table has; its owner and what was made are the service's."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def made_by_request(column: str) -> ForeignKey:
    """A reference that is checked at the commit: a key is claimed before its resource is there."""
    return ForeignKey(column, ondelete="CASCADE", deferrable=True, initially="DEFERRED")


class IdempotencyKeys:
    """The keys of one service."""

    def __init__(self, row: type[DeclarativeBase], resource: str) -> None:
        """Learn where they are.

        Args:
            row: `IdempotencyKeyColumns` with an `owner`.
            resource: its column that names what a request made.
        """
        assert isinstance(row.__table__, Table)
        self._table = row.__table__
        self._resource = resource

    async def claim(
        self, session: AsyncSession, owner: object, key: str, request_sha256: str, resource: UUID
    ) -> UUID:
        """Bind the key to what this transaction will make.

        Waits for a request that is claiming the same key just now.

        Returns:
            `resource`, or what an earlier request of the same content made.

        Raises:
            IdempotencyKeyReused: the earlier request was another one.
        """
        claimed = await session.execute(
            insert(self._table)
            .values(
                {
                    "owner": owner,
                    "key": key,
                    "request_sha256": request_sha256,
                    self._resource: resource,
                }
            )
            .on_conflict_do_nothing()
            .returning(self._table.c.key)
        )
        if claimed.one_or_none() is not None:
            return resource
        earlier = await self.find(session, owner, key, request_sha256)
        if earlier is None:
            # What it made has just been deleted, and the key with it.
            raise IdempotencyKeyReused("What this key stood for has just been deleted.")
        return earlier

    async def find(
        self, session: AsyncSession, owner: object, key: str, request_sha256: str
    ) -> UUID | None:
        """What an earlier request of the same content made.

        Raises:
            IdempotencyKeyReused: the earlier request was another one.
        """
        columns = self._table.c
        earlier = (
            await session.execute(
                select(columns.request_sha256, columns[self._resource].label("resource")).where(
                    columns.owner == owner, columns.key == key
                )
            )
        ).one_or_none()
        if earlier is None:
            return None
        if earlier.request_sha256 != request_sha256:
            raise IdempotencyKeyReused("This key came before with another request.")
        found: UUID = earlier.resource
        return found

    async def forget(self, session: AsyncSession, older_than: timedelta = KEYS_LIVE) -> None:
        """Delete keys whose client has long stopped repeating its request."""
        await session.execute(
            delete(self._table).where(self._table.c.created_at < func.now() - older_than)
        )
