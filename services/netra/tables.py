"""The rows of the schema `netra`."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.idempotency import IdempotencyKeyColumns, IdempotencyKeys, made_by_request
from shared.jobs import JobColumns, job_indexes
from shared.webhooks import (
    DeliveryColumns,
    EndpointColumns,
    delivery_indexes,
    endpoint_indexes,
)

SCHEMA = "netra"


class Base(DeclarativeBase):
    """The registry of this service's tables."""


class ExaminationRow(Base):
    """One visit of one patient: the photographs that are judged together."""

    __tablename__ = "examinations"
    __table_args__ = (
        Index("examinations_of_owner", "owner", "reference", unique=True),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    owner: Mapped[UUID] = mapped_column(Uuid)
    reference: Mapped[str] = mapped_column(Text)
    """The owner's own name for the visit."""
    patient_id: Mapped[str] = mapped_column(Text, server_default="")
    patient_name: Mapped[str] = mapped_column(Text, server_default="")
    patient_birth_date: Mapped[date | None] = mapped_column(Date)
    patient_sex: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AnalysisRow(JobColumns, Base):
    """One photograph and its analysis, which is a job."""

    __tablename__ = "analyses"

    owner: Mapped[UUID] = mapped_column(Uuid)
    job_token: Mapped[str] = mapped_column(Text, unique=True)
    """The job's name on the old wire: 70 letters and digits."""
    username: Mapped[str] = mapped_column(Text)
    """Who asked, as the old wire tells it."""
    label: Mapped[str] = mapped_column(Text, server_default="")
    image_name: Mapped[str] = mapped_column(Text, server_default="")
    examination_id: Mapped[UUID | None] = mapped_column(
        Uuid, ForeignKey(f"{SCHEMA}.examinations.id", ondelete="SET NULL")
    )
    eye: Mapped[str | None] = mapped_column(Text)
    image_sha256: Mapped[str] = mapped_column(Text)
    image_bytes: Mapped[int] = mapped_column(BigInteger)
    image_format: Mapped[str] = mapped_column(Text)
    image_width_px: Mapped[int | None] = mapped_column(Integer)
    image_height_px: Mapped[int | None] = mapped_column(Integer)
    decision: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    """What a person decided about an analysis that was held."""

    __table_args__ = (
        *job_indexes("analyses"),
        Index("analyses_of_owner", "owner", text("created_at DESC"), text("id DESC")),
        Index("analyses_of_label", "owner", "label", text("created_at DESC"), text("id DESC")),
        Index("analyses_of_image", "image_sha256"),
        Index("analyses_of_examination", "examination_id"),
        {"schema": SCHEMA},
    )


class MaskRow(Base):
    """Where the lesions of one type are, compressed."""

    __tablename__ = "masks"
    __table_args__ = ({"schema": SCHEMA},)

    analysis_id: Mapped[UUID] = mapped_column(
        Uuid, ForeignKey(f"{SCHEMA}.analyses.id", ondelete="CASCADE"), primary_key=True
    )
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    rows: Mapped[int] = mapped_column(Integer)
    columns: Mapped[int] = mapped_column(Integer)
    bits: Mapped[bytes] = mapped_column(LargeBinary)
    """`LesionMask.bits`, deflated."""


class AccountRow(Base):
    """How many analyses an account may still ask for."""

    __tablename__ = "accounts"
    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    credits: Mapped[int] = mapped_column(BigInteger)


class LedgerRow(Base):
    """One movement of an account's credits; rows are only ever added."""

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ledger_of_owner", "owner", text("number DESC")),
        Index(
            "ledger_once",
            "analysis_id",
            "kind",
            unique=True,
            postgresql_where=text("analysis_id IS NOT NULL"),
        ),
        {"schema": SCHEMA},
    )

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner: Mapped[UUID] = mapped_column(Uuid)
    kind: Mapped[str] = mapped_column(Text)
    """`grant`, `charge`, `refund`."""
    amount: Mapped[int] = mapped_column(BigInteger)
    """What it adds to the account; a charge is negative."""
    analysis_id: Mapped[UUID | None] = mapped_column(Uuid)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class IdempotencyKeyRow(IdempotencyKeyColumns, Base):
    """Which analysis a client's `Idempotency-Key` stands for."""

    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    analysis_id: Mapped[UUID] = mapped_column(made_by_request(f"{SCHEMA}.analyses.id"), index=True)


KEYS = IdempotencyKeys(IdempotencyKeyRow, "analysis_id")


class WebhookRow(EndpointColumns, Base):
    """An address that hears of its owner's analyses."""

    __tablename__ = "webhooks"
    __table_args__ = (*endpoint_indexes("webhooks"), {"schema": SCHEMA})


class WebhookDeliveryRow(DeliveryColumns, Base):
    """What such an address is to hear, or has heard."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (*delivery_indexes("webhook_deliveries"), {"schema": SCHEMA})
