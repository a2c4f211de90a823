"""The rows of the schema `bqat`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.idempotency import IdempotencyKeyColumns, IdempotencyKeys, made_by_request
from shared.jobs import JobColumns, JobQueue, job_indexes

SCHEMA = "bqat"


class Base(DeclarativeBase):
    """The registry of this service's tables."""


class DatasetRow(Base):
    """Profiles that belong together."""

    __tablename__ = "datasets"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    modality: Mapped[str | None] = mapped_column(Text)
    options: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    modified_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )

    __table_args__ = (
        Index("datasets_by_name", "tenant", "name", unique=True),
        {"schema": SCHEMA},
    )


class TaskRow(JobColumns, Base):
    """A scan, or something that is made of its profiles: a job."""

    __tablename__ = "tasks"

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    kind: Mapped[str] = mapped_column(Text)
    dataset_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.datasets.id", ondelete="CASCADE")
    )
    modality: Mapped[str | None] = mapped_column(Text)
    engine: Mapped[str | None] = mapped_column(Text)
    options: Mapped[Any] = mapped_column(JSON)
    source: Mapped[Any] = mapped_column(JSON)
    total: Mapped[int | None] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    elapsed_s: Mapped[float] = mapped_column(Double, server_default="0")
    is_listed: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """Whether every file of the scan stands in its chunks."""
    modified_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )

    __table_args__ = (
        *job_indexes("tasks"),
        Index("tasks_of_dataset", "dataset_id"),
        Index("tasks_of_tenant", "tenant", "number"),
        {"schema": SCHEMA},
    )


class IdempotencyKeyRow(IdempotencyKeyColumns, Base):
    """Which scan a request with an `Idempotency-Key` began."""

    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    task_id: Mapped[UUID] = mapped_column(made_by_request(f"{SCHEMA}.tasks.id"), index=True)


KEYS = IdempotencyKeys(IdempotencyKeyRow, "task_id")


class ChunkRow(Base):
    """Some hundred files of a scan, in their order: what one checkpoint covers."""

    __tablename__ = "chunks"
    __table_args__ = ({"schema": SCHEMA},)

    task_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    first_position: Mapped[int] = mapped_column(Integer)
    files: Mapped[list[str]] = mapped_column(ARRAY(Text))
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Where the bytes are; of uploads the objects, which are forgotten when the scan is done."""
    is_done: Mapped[bool] = mapped_column(Boolean, server_default="false")


class ProfileRow(Base):
    """The quality profile of one file."""

    __tablename__ = "profiles"

    task_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.datasets.id", ondelete="CASCADE")
    )
    tag: Mapped[str] = mapped_column(Text)
    file: Mapped[str] = mapped_column(Text)
    profile: Mapped[Any] = mapped_column(JSON)
    """`json`, which keeps the order of the keys."""
    evidence: Mapped[str] = mapped_column(Text)
    has_failed: Mapped[bool] = mapped_column(Boolean)

    __table_args__ = (
        Index("profiles_of_dataset", "dataset_id", "task_number", "position"),
        Index("profiles_by_tag", "dataset_id", "tag"),
        {"schema": SCHEMA},
    )


class DetectionRow(Base):
    """How the outliers of a dataset were found."""

    __tablename__ = "detections"
    __table_args__ = ({"schema": SCHEMA},)

    dataset_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.datasets.id", ondelete="CASCADE"), primary_key=True
    )
    task_id: Mapped[UUID] = mapped_column(Uuid)
    detector: Mapped[str] = mapped_column(Text)
    columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    contamination: Mapped[float] = mapped_column(Double)
    threshold: Mapped[float] = mapped_column(Double)
    samples: Mapped[int] = mapped_column(Integer)
    unusable: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class OutlierRow(Base):
    """A profile that stands out, or, with the score -1, one that could not be judged."""

    __tablename__ = "outliers"

    dataset_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.detections.dataset_id", ondelete="CASCADE"), primary_key=True
    )
    task_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    score: Mapped[float] = mapped_column(Double)
    contributions: Mapped[Any] = mapped_column(JSON)

    __table_args__ = (
        Index("outliers_by_score", "dataset_id", "score"),
        {"schema": SCHEMA},
    )


class ReportRow(Base):
    """The report of a dataset: an object that holds the page."""

    __tablename__ = "reports"
    __table_args__ = ({"schema": SCHEMA},)

    dataset_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.datasets.id", ondelete="CASCADE"), primary_key=True
    )
    task_id: Mapped[UUID] = mapped_column(Uuid)
    sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


TASKS = JobQueue(TaskRow)
