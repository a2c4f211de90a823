"""The rows of slides."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Boolean, Double, Index, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, deferred, mapped_column

from services.scancer.tables import SCHEMA, Base
from shared.idempotency import IdempotencyKeyColumns, IdempotencyKeys, made_by_request
from shared.jobs import JobColumns, JobQueue, job_indexes


class SlideRow(JobColumns, Base):
    """One slide, and the job of looking at it."""

    __tablename__ = "slides"

    owner: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    file_sha256: Mapped[str] = mapped_column(Text)
    file_bytes: Mapped[int] = mapped_column(BigInteger)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """`SlideFacts`, as the file stated them when it came in."""
    mpp_um: Mapped[float] = mapped_column(Double)
    mpp_is_stated: Mapped[bool] = mapped_column(Boolean)
    """Whether the request stated it rather than the file."""
    region: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    stride_px: Mapped[int] = mapped_column(Integer)
    model_name: Mapped[str] = mapped_column(Text)
    model: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Which network looks: id, version, sha256, evidence, and what it reads."""
    operating_point: Mapped[float] = mapped_column(Double)
    blocks_done: Mapped[int] = mapped_column(Integer, server_default="0")
    grid: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    """The grid so far, deflated; kept when the job ends early."""
    view_sha256: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        *job_indexes("slides"),
        Index("slides_of_owner", "owner", text("created_at DESC"), text("id DESC")),
        Index("slides_of_file", "file_sha256"),
        Index("slides_of_view", "view_sha256"),
        {"schema": SCHEMA},
    )


SLIDES = JobQueue(SlideRow)


class IdempotencyKeyRow(IdempotencyKeyColumns, Base):
    """Which slide a request with an `Idempotency-Key` sent."""

    __table_args__ = ({"schema": SCHEMA},)

    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    slide_id: Mapped[UUID] = mapped_column(made_by_request(f"{SCHEMA}.slides.id"), index=True)


KEYS = IdempotencyKeys(IdempotencyKeyRow, "slide_id")
