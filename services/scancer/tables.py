"""The rows of the schema `scancer`."""

from datetime import datetime

from sqlalchemy import Boolean, DateTime, Index, Integer, Text, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "scancer"


class Base(DeclarativeBase):
    """The registry of this service's tables."""


class ModelRow(Base):
    """One version of one registered model."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    archive_sha256: Mapped[str] = mapped_column(Text)
    model_id: Mapped[str] = mapped_column(Text)
    model_version: Mapped[str] = mapped_column(Text)
    network_sha256: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    task: Mapped[str] = mapped_column(Text)
    min_workers: Mapped[int] = mapped_column(Integer)
    max_workers: Mapped[int] = mapped_column(Integer)
    batch_size: Mapped[int] = mapped_column(Integer)
    max_batch_delay_ms: Mapped[int] = mapped_column(Integer)
    response_timeout_s: Mapped[int] = mapped_column(Integer)
    startup_timeout_s: Mapped[int] = mapped_column(Integer)
    is_default: Mapped[bool] = mapped_column(Boolean)
    is_shipped: Mapped[bool] = mapped_column(Boolean)
    registered_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )

    __table_args__ = (
        Index("one_default_per_model", "name", unique=True, postgresql_where=text("is_default")),
        Index("models_of_archive", "archive_sha256"),
        {"schema": SCHEMA},
    )


class ShippedRow(Base):
    """A package of the project that was registered once; it does not return when removed."""

    __tablename__ = "shipped"
    __table_args__ = ({"schema": SCHEMA},)

    archive_sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
