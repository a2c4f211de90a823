"""The columns by which a row of a service's own table is a job."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Index,
    Integer,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column


class JobColumns:
    """Makes a declarative class a job; the service adds its own columns.

    Only the methods of `JobQueue`, `Claim` and `Effect` write these columns. A service sets `id`,
    `tenant` and, where it wants them, `priority`, `dedupe_key` and `run_after` of a new row.
    """

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    status: Mapped[str] = mapped_column(Text, server_default="queued")
    tenant: Mapped[str] = mapped_column(Text)
    """Whose turn it takes: workers serve tenants in turn."""
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    """Higher comes first among the jobs of one tenant."""
    dedupe_key: Mapped[str | None] = mapped_column(Text)
    """At most one live job of a tenant has it."""
    progress: Mapped[float] = mapped_column(Double, server_default="0")
    """From 0 to 1."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often a worker began it, counted when it is claimed."""
    deaths: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often a worker that had it was not heard of again."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often its handler raised."""
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Grows with every change of hands; what was begun under an older value cannot be written."""
    worker: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default="false")
    pause_requested: Mapped[bool] = mapped_column(Boolean, server_default="false")
    run_after: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    """Not before this instant; retries wait longer and longer."""
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    error_code: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    claimed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When a worker took it last."""
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When a worker took it for the first time."""
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


def job_indexes(table: str) -> tuple[Index, ...]:
    """The indexes of a job table, for `__table_args__` and for `create_job_table` alike.

    None of them holds `lease_until` or `progress`, so that renewing a lease touches no index.
    """
    return (
        Index(
            f"{table}_turn",
            "tenant",
            text("priority DESC"),
            "queued_at",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(f"{table}_served", "tenant", text("claimed_at DESC NULLS LAST")),
        Index(f"{table}_running", "tenant", postgresql_where=text("status = 'running'")),
        Index(
            f"{table}_same",
            "tenant",
            "dedupe_key",
            unique=True,
            postgresql_where=text(
                "dedupe_key IS NOT NULL AND status IN ('queued', 'running', 'paused', 'held')"
            ),
        ),
    )
