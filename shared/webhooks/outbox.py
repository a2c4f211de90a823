"""What a service does with webhooks inside a request: register endpoints, announce events.

Every method writes in the session it is given, so that an event and the word of it become true at
the same instant or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Table, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.webhooks.addresses import Guard
from shared.webhooks.columns import DeliveryColumns, EndpointColumns
from shared.webhooks.signing import new_secret

EVERYTHING: Final = "*"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to tell; `secret` is shown when it is made, and never again."""

    id: UUID
    url: str
    events: tuple[str, ...]
    secret: str


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks of one service: two tables of its own schema."""

    endpoint_rows: type[EndpointColumns]
    delivery_rows: type[DeliveryColumns]

    @property
    def endpoints(self) -> Table:
        """The table of endpoints."""
        table: Table = self.endpoint_rows.__table__  # type: ignore[attr-defined]  # declarative
        return table

    @property
    def deliveries(self) -> Table:
        """The outbox."""
        table: Table = self.delivery_rows.__table__  # type: ignore[attr-defined]  # declarative
        return table

    @property
    def channel(self) -> str:
        """Where a courier hears that there is something to deliver."""
        return f"{self.endpoints.schema}_webhooks"

    async def register(
        self, session: AsyncSession, guard: Guard, *, tenant: str, url: str, events: Sequence[str]
    ) -> Endpoint:
        """Tell `url` of the tenant's events from here on.

        Raises:
            AddressRefused: no webhook may go there.
        """
        await guard.judge(url)
        endpoint = Endpoint(uuid4(), url, tuple(dict.fromkeys(events)), new_secret())
        await session.execute(
            self.endpoints.insert().values(
                id=endpoint.id,
                tenant=tenant,
                url=url,
                secret=endpoint.secret,
                events=list(endpoint.events),
            )
        )
        return endpoint

    async def remove(self, session: AsyncSession, endpoint_id: UUID, *, tenant: str) -> bool:
        """Forget an endpoint and its outbox; whether the tenant had it."""
        table = self.endpoints.c
        removed = await session.execute(
            delete(self.endpoints)
            .where(table.id == endpoint_id, table.tenant == tenant)
            .returning(table.id)
        )
        return removed.one_or_none() is not None

    async def announce(
        self, session: AsyncSession, *, tenant: str, event: str, data: Mapping[str, Any]
    ) -> int:
        """Put an event into the outbox of every endpoint that wants it; how many do.

        Args:
            session: the transaction in which the event becomes true.
            tenant: whose event it is.
            event: its type, such as `analysis.completed`.
            data: what the receivers get, as JSON; no picture and no name of a person.
        """
        table = self.endpoints.c
        wanting = (
            await session.scalars(
                select(table.id).where(
                    table.tenant == tenant,
                    table.disabled_at.is_(None),
                    or_(table.events.contains([event]), table.events.contains([EVERYTHING])),
                )
            )
        ).all()
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for endpoint_id in wanting:
            id_ = uuid4()
            message = {"id": str(id_), "type": event, "at": at, "data": data}
            await session.execute(
                self.deliveries.insert().values(
                    id=id_,
                    endpoint_id=endpoint_id,
                    tenant=tenant,
                    event=event,
                    body=json.dumps(message, separators=(",", ":")),
                )
            )
        if wanting:
            await self._wake(session)
        return len(wanting)

    async def deliver_again(self, session: AsyncSession, delivery_id: UUID, *, tenant: str) -> bool:
        """Try a dead delivery anew; whether the tenant had one."""
        table = self.deliveries.c
        found = await session.execute(
            update(self.deliveries)
            .where(table.id == delivery_id, table.tenant == tenant, table.status == "dead")
            .values(status="waiting", attempts=0, next_attempt_at=func.now(), finished_at=None)
            .returning(table.id)
        )
        if found.one_or_none() is None:
            return False
        await self._wake(session)
        return True

    async def _wake(self, session: AsyncSession) -> None:
        await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": self.channel})
