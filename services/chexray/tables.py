"""The rows of the schema `chexray`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.idempotency import IdempotencyKeyColumns, IdempotencyKeys, made_by_request

SCHEMA = "chexray"


class Base(DeclarativeBase):
    """The registry of this service's tables."""


class StudyRow(Base):
    """One study."""

    __tablename__ = "studies"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    owner: Mapped[UUID] = mapped_column(Uuid)
    title: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    image_sha256: Mapped[str] = mapped_column(Text)
    image_bytes: Mapped[int] = mapped_column(BigInteger)
    image_format: Mapped[str] = mapped_column(Text)
    image_width_px: Mapped[int] = mapped_column(BigInteger)
    image_height_px: Mapped[int] = mapped_column(BigInteger)
    file_name: Mapped[str] = mapped_column(Text)
    media_token: Mapped[str] = mapped_column(Text, unique=True)
    gate_reasons: Mapped[list[str]] = mapped_column(ARRAY(Text))
    gate_quarter_turns: Mapped[int] = mapped_column(SmallInteger)
    probabilities: Mapped[list[float]] = mapped_column(ARRAY(Double))
    operating_points: Mapped[list[float]] = mapped_column(ARRAY(Double))
    model_id: Mapped[str] = mapped_column(Text)
    model_version: Mapped[str] = mapped_column(Text)
    model_sha256: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    calibrated: Mapped[bool] = mapped_column(Boolean)
    map_rows: Mapped[int | None] = mapped_column(SmallInteger)
    map_columns: Mapped[int | None] = mapped_column(SmallInteger)
    map_covers_xyxy: Mapped[list[float] | None] = mapped_column(ARRAY(Double))
    map_values: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("studies_of_owner", "owner", text("created_at DESC"), text("id DESC")),
        Index("studies_of_image", "image_sha256"),
        {"schema": SCHEMA},
    )


class UsageRow(Base):
    """How much one account keeps: the two figures its quota limits."""

    __tablename__ = "usage"
    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    studies: Mapped[int] = mapped_column(BigInteger)
    image_bytes: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKeyRow(IdempotencyKeyColumns, Base):
    """Which study a request with an `Idempotency-Key` made."""

    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    study_id: Mapped[UUID] = mapped_column(made_by_request(f"{SCHEMA}.studies.id"), index=True)


KEYS = IdempotencyKeys(IdempotencyKeyRow, "study_id")
