"""The outbox: what is announced, in the order in which it was committed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from services.fleet.domain import AlertId, Event, TruckId
from services.fleet.webhooks import TENANT, WEBHOOKS

#: Processes with live connections listen here; the payload is the event's number.
CHANNEL: Final = "vedette_fleet_events"
#: And here for changes of who may see what; the payload is a user's id.
RIGHTS_CHANNEL: Final = "vedette_fleet_rights"
#: And here for new frames; the payload is the trucks' numbers.
FRAMES_CHANNEL: Final = "vedette_fleet_frames"

# The lock makes numbers visible in their order: whoever has read up to one has missed none before.
# It is taken as late as can be, and lasts for the commit.
_ANNOUNCE = text(
    f"""
    WITH turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended('vedette-fleet-events', 0))
    ), added AS (
        INSERT INTO fleet.events (type, truck_id, alert_id, data)
        SELECT :type, :truck_id, :alert_id, :data FROM turn
        RETURNING id
    )
    SELECT id, pg_notify('{CHANNEL}', id::text) FROM added
    """  # noqa: S608 (made of a constant alone)
).bindparams(
    bindparam("truck_id", type_=Uuid),
    bindparam("alert_id", type_=Uuid),
    bindparam("data", type_=JSONB),
)
_COLUMNS: Final = "id, type, at, truck_id, alert_id, data"


class EventRepository:
    """Announces events and reads them again."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def announce(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        truck_id: TruckId | None = None,
        alert_id: AlertId | None = None,
    ) -> int:
        """Add an event to this transaction; listeners and webhooks hear of it when it commits."""
        told = {
            "truck_id": None if truck_id is None else str(truck_id),
            "alert_id": None if alert_id is None else str(alert_id),
            **data,
        }
        await WEBHOOKS.announce(self._session, tenant=TENANT, event=kind, data=told)
        found = await self._session.execute(
            _ANNOUNCE,
            {"type": kind, "truck_id": truck_id, "alert_id": alert_id, "data": dict(data)},
        )
        number: int = found.scalar_one()
        return number

    async def tell_rights_changed(self, user_id: object) -> None:
        """Have every process look again at what this user may see."""
        await self._session.execute(
            text("SELECT pg_notify(:channel, :user)"),
            {"channel": RIGHTS_CHANNEL, "user": str(user_id)},
        )

    async def newest(self) -> int:
        """The number of the newest event; 0 before the first."""
        found = await self._session.scalar(text("SELECT max(id) FROM fleet.events"))
        return found or 0

    async def oldest(self) -> int:
        """The number of the oldest event that is still kept; 0 where none is."""
        found = await self._session.scalar(text("SELECT min(id) FROM fleet.events"))
        return found or 0

    async def after(
        self, since: int, limit: int, trucks: Collection[TruckId] | None = None
    ) -> Sequence[Event]:
        """Up to `limit` events after number `since`, of these trucks or of all."""
        only = "" if trucks is None else "AND truck_id = ANY(:trucks)"
        query = text(
            f"SELECT {_COLUMNS} FROM fleet.events WHERE id > :since {only}"  # noqa: S608 (constants)
            " ORDER BY id LIMIT :limit"
        )
        parameters: dict[str, Any] = {"since": since, "limit": limit}
        if trucks is not None:
            query = query.bindparams(bindparam("trucks", type_=ARRAY(Uuid)))
            parameters["trucks"] = list(trucks)
        found = await self._session.execute(query, parameters)
        return [_to_event(row) for row in found.mappings()]

    async def forget_before(self, before: datetime) -> int:
        """Delete events that are older, and return how many."""
        found = await self._session.execute(
            text("DELETE FROM fleet.events WHERE at < :before RETURNING id"), {"before": before}
        )
        return len(found.all())


def _to_event(row: RowMapping) -> Event:
    return Event(
        id=row["id"],
        type=row["type"],
        at=row["at"],
        truck_id=row["truck_id"],
        alert_id=row["alert_id"],
        data=row["data"],
    )
