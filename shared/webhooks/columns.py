"""The two tables of webhooks that a service keeps in its own schema."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Identity, Index, Integer, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column


class EndpointColumns:
    """Makes a declarative class the table of endpoints: whom to tell."""

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)
    """Signs what is sent; it has to be known in clear, and is shown to its owner once."""
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """The types it hears of; `*` for all."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    busy_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """While a courier is on its way: an endpoint gets one delivery at a time, in order."""


class DeliveryColumns:
    """Makes a declarative class the outbox: what to tell, and how that went."""

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    """The order in which things happened."""
    endpoint_id: Mapped[UUID] = mapped_column(Uuid)
    tenant: Mapped[str] = mapped_column(Text)
    event: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    """The JSON as it is sent, the same at every attempt."""
    status: Mapped[str] = mapped_column(Text, server_default="waiting")
    """`waiting`, `delivered` or `dead`."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    last_status: Mapped[int | None] = mapped_column(Integer)
    """The receiver's answer."""
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


def endpoint_indexes(table: str) -> tuple[Index, ...]:
    """The indexes of the table of endpoints, for `__table_args__`."""
    return (Index(f"{table}_of_tenant", "tenant"),)


def delivery_indexes(table: str) -> tuple[Index, ...]:
    """The indexes of the outbox, for `__table_args__`."""
    return (
        Index(
            f"{table}_due",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=text("status = 'waiting'"),
        ),
        Index(f"{table}_of_tenant", "tenant", text("number DESC")),
    )
