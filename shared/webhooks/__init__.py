"""Word to other systems: events that a service announces, signed, and delivered until accepted.

An event enters the outbox in the transaction that makes it true; couriers take it to every endpoint
of its tenant that wants it, at least once, in order, each attempt signed anew. An endpoint that
fails is tried again for a day and a half; then the delivery is dead, kept, and can be sent again.
Receivers know a repeated delivery by the header `Vedette-Delivery`.

A service brings two tables (`shared.webhooks.schema.create_webhook_tables` in a migration)::

    class WebhookRow(EndpointColumns, Base):
        __tablename__ = "webhooks"
        __table_args__ = (*endpoint_indexes("webhooks"), {"schema": "netra"})

    class WebhookDeliveryRow(DeliveryColumns, Base):
        __tablename__ = "webhook_deliveries"
        __table_args__ = (*delivery_indexes("webhook_deliveries"), {"schema": "netra"})

    WEBHOOKS = Webhooks(WebhookRow, WebhookDeliveryRow)

announces within its transactions (an effect of a job, too)::

    await WEBHOOKS.announce(session, tenant=owner, event="analysis.completed", data={"id": id})

and runs a courier in its lifespan::

    guard = Guard(settings.webhook_allow)
    sender = await opened.enter_async_context(Sender(guard))
    await opened.enter_async_context(Courier(WEBHOOKS, sender, engine, database_url).running())

`WEBHOOKS.register(session, guard, tenant=…, url=…, events=["*"])` returns the endpoint with its
secret, which is shown once; it raises `AddressRefused`, which belongs into a 422.
"""

from shared.webhooks.addresses import AddressRefused, Guard
from shared.webhooks.columns import (
    DeliveryColumns,
    EndpointColumns,
    delivery_indexes,
    endpoint_indexes,
)
from shared.webhooks.courier import Courier
from shared.webhooks.outbox import EVERYTHING, Endpoint, Webhooks
from shared.webhooks.sending import Sender
from shared.webhooks.signing import is_genuine, new_secret, signature

__all__ = [
    "EVERYTHING",
    "AddressRefused",
    "Courier",
    "DeliveryColumns",
    "Endpoint",
    "EndpointColumns",
    "Guard",
    "Sender",
    "Webhooks",
    "delivery_indexes",
    "endpoint_indexes",
    "is_genuine",
    "new_secret",
    "signature",
]
