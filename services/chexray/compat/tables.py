"""The old API's small user numbers."""

from uuid import UUID

from sqlalchemy import BigInteger, Identity, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from services.chexray.tables import SCHEMA, Base


class LegacyAccountRow(Base):
    """The number under which old clients know a user; the anonymous account is number 1."""

    __tablename__ = "legacy_accounts"
    __table_args__ = ({"schema": SCHEMA},)

    number: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
