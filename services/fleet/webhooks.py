"""The tables of fleet's webhooks, and whose they are."""

from typing import Final

from sqlalchemy.orm import DeclarativeBase

from shared.webhooks import (
    DeliveryColumns,
    EndpointColumns,
    Webhooks,
    delivery_indexes,
    endpoint_indexes,
)

SCHEMA: Final = "fleet"
#: Administrators of the fleet see everything, and only they register webhooks: one owner for all.
TENANT: Final = "fleet"


class Base(DeclarativeBase):
    """The registry of these tables."""


class WebhookRow(EndpointColumns, Base):
    """Whom to tell."""

    __tablename__ = "webhooks"
    __table_args__ = (*endpoint_indexes("webhooks"), {"schema": SCHEMA})


class WebhookDeliveryRow(DeliveryColumns, Base):
    """What to tell, and how that went."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (*delivery_indexes("webhook_deliveries"), {"schema": SCHEMA})


WEBHOOKS: Final = Webhooks(WebhookRow, WebhookDeliveryRow)
