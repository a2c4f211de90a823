"""Alerts, and the incidents that they make."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from services.fleet.domain import (
    Alert,
    AlertId,
    DeviceId,
    IncidentId,
    Mark,
    Severity,
    State,
    TruckId,
    UserId,
)
from services.fleet.errors import AlertNotFound
from services.fleet.incidents import Span

_ALERT: Final = """
    SELECT a.id, a.number, a.truck_id, t.number AS truck_number, a.device_id, a.incident_id,
        a.behavior, a.severity, a.state, a.started_at, a.ended_at, a.stated_at, a.received_at,
        a.marks, a.assignee, a.version, a.legal_hold
    FROM fleet.alerts a JOIN fleet.trucks t ON t.id = a.truck_id
"""


@dataclass(frozen=True, slots=True)
class NewAlert:
    """An alert before the database has given it its number."""

    id: AlertId
    truck_id: TruckId
    device_id: DeviceId | None
    incident_id: IncidentId
    behavior: str
    severity: Severity
    started_at: datetime
    ended_at: datetime | None
    stated_at: datetime
    marks: frozenset[Mark]
    seq: int | None
    dedupe: UUID | None
    request_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an alert's history."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]


class AlertRepository:
    """Finds and keeps alerts; what belongs to a viewer is asked for with its trucks."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, alert: NewAlert) -> Alert:
        """Keep a new alert."""
        await self._session.execute(
            text(
                """
                INSERT INTO fleet.alerts (id, truck_id, device_id, incident_id, behavior, severity,
                    started_at, ended_at, stated_at, marks, seq, dedupe, request_sha256)
                VALUES (:id, :truck_id, :device_id, :incident_id, :behavior, :severity,
                    :started_at, :ended_at, :stated_at, :marks, :seq, :dedupe, :request_sha256)
                """
            ),
            {
                "id": alert.id,
                "truck_id": alert.truck_id,
                "device_id": alert.device_id,
                "incident_id": alert.incident_id,
                "behavior": alert.behavior,
                "severity": int(alert.severity),
                "started_at": alert.started_at,
                "ended_at": alert.ended_at,
                "stated_at": alert.stated_at,
                "marks": sorted(alert.marks),
                "seq": alert.seq,
                "dedupe": alert.dedupe,
                "request_sha256": alert.request_sha256,
            },
        )
        return await self.get(alert.id)

    async def get(
        self,
        alert_id: AlertId,
        trucks: Collection[TruckId] | None = None,
        *,
        locked: bool = False,
    ) -> Alert:
        """One alert, of these trucks or of any; raises `AlertNotFound`."""
        found = await self._one("a.id = :value", alert_id, locked=locked)
        if found is None or (trucks is not None and found.truck_id not in trucks):
            raise AlertNotFound
        return found

    async def find_by_number(self, number: int, *, locked: bool = False) -> Alert | None:
        """The alert of this number, whoever asks."""
        if not 0 < number < 2**63:
            return None
        return await self._one("a.number = :value", number, locked=locked)

    async def find_by_dedupe(self, dedupe: UUID) -> tuple[Alert, bytes | None] | None:
        """What the same request made before, and its digest."""
        found = await self._one("a.dedupe = :value", dedupe)
        if found is None:
            return None
        query = text("SELECT request_sha256 FROM fleet.alerts WHERE id = :id")
        return found, await self._session.scalar(query, {"id": found.id})

    async def find_same_open(
        self, device_id: DeviceId, behavior: str, stated_at: datetime
    ) -> Alert | None:
        """The alert that goes on and began as this one did: the same, sent again."""
        found = await self._session.execute(
            text(
                f"{_ALERT} WHERE a.device_id = :device_id AND a.behavior = :behavior"
                " AND a.stated_at = :stated_at AND a.ended_at IS NULL LIMIT 1"
            ),
            {"device_id": device_id, "behavior": behavior, "stated_at": stated_at},
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_alert(row)

    async def _one(self, condition: str, value: object, *, locked: bool = False) -> Alert | None:
        suffix = " FOR UPDATE OF a" if locked else ""
        found = await self._session.execute(
            text(f"{_ALERT} WHERE {condition}{suffix}"), {"value": value}
        )
        row = found.mappings().one_or_none()
        return None if row is None else _to_alert(row)

    async def page(
        self,
        *,
        trucks: Collection[TruckId] | None,
        conditions: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        order: str = "a.number DESC",
        limit: int = 20,
        offset: int = 0,
    ) -> Sequence[Alert]:
        """Some alerts; conditions and order are made of constants."""
        where, given, types = _filtered(trucks, conditions, parameters)
        found = await self._session.execute(
            text(f"{_ALERT} WHERE {where} ORDER BY {order} LIMIT :limit OFFSET :offset").bindparams(
                *types
            ),
            {**given, "limit": limit, "offset": offset},
        )
        return [_to_alert(row) for row in found.mappings()]

    async def count(
        self,
        *,
        trucks: Collection[TruckId] | None,
        conditions: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """How many there are."""
        where, given, types = _filtered(trucks, conditions, parameters)
        total = await self._session.scalar(
            text(
                "SELECT count(*) FROM fleet.alerts a JOIN fleet.trucks t ON t.id = a.truck_id"  # noqa: S608 (constants)
                f" WHERE {where}"
            ).bindparams(*types),
            given,
        )
        return total or 0

    async def save(self, alert: Alert) -> None:
        """Write what can change of an alert."""
        await self._session.execute(
            text(
                """
                UPDATE fleet.alerts SET severity = :severity, state = :state, ended_at = :ended_at,
                    assignee = :assignee, version = :version, legal_hold = :legal_hold,
                    marks = :marks, acknowledged_at = CASE WHEN :state = 'open' THEN NULL
                        ELSE coalesce(acknowledged_at, now()) END
                WHERE id = :id
                """
            ),
            {
                "id": alert.id,
                "severity": int(alert.severity),
                "state": alert.state.value,
                "ended_at": alert.ended_at,
                "assignee": alert.assignee,
                "version": alert.version,
                "legal_hold": alert.legal_hold,
                "marks": sorted(alert.marks),
            },
        )

    async def end_going_on(self, device_id: DeviceId, behavior: str) -> Sequence[Alert]:
        """The alerts of one behavior of a device that go on."""
        found = await self._session.execute(
            text(
                f"{_ALERT} WHERE a.device_id = :device_id AND a.behavior = :behavior"
                " AND a.ended_at IS NULL"
            ),
            {"device_id": device_id, "behavior": behavior},
        )
        return [_to_alert(row) for row in found.mappings()]

    # History and comments.

    async def log(self, alert_id: AlertId, actor: str, action: str, **detail: Any) -> None:
        """Add a line to an alert's history."""
        await self._session.execute(
            text(
                "INSERT INTO fleet.alert_log (alert_id, actor, action, detail)"
                " VALUES (:alert_id, :actor, :action, :detail)"
            ).bindparams(bindparam("detail", type_=JSONB)),
            {"alert_id": alert_id, "actor": actor, "action": action, "detail": detail},
        )

    async def history(self, alert_id: AlertId) -> Sequence[Entry]:
        """An alert's history, oldest first."""
        found = await self._session.execute(
            text(
                "SELECT at, actor, action, detail FROM fleet.alert_log"
                " WHERE alert_id = :id ORDER BY id"
            ),
            {"id": alert_id},
        )
        return [Entry(row.at, row.actor, row.action, row.detail) for row in found]

    async def comment(
        self, comment_id: UUID, alert_id: AlertId, author: UserId, name: str, body: str
    ) -> datetime:
        """Keep a comment; returns when."""
        found = await self._session.execute(
            text(
                "INSERT INTO fleet.comments (id, alert_id, author, author_name, body)"
                " VALUES (:id, :alert_id, :author, :name, :body) RETURNING at"
            ),
            {
                "id": comment_id, "alert_id": alert_id, "author": author, "name": name,
                "body": body,
            },
        )  # fmt: skip
        at: datetime = found.scalar_one()
        return at

    async def comments(self, alert_id: AlertId) -> Sequence[RowMapping]:
        """The comments on an alert, oldest first."""
        found = await self._session.execute(
            text(
                "SELECT id, at, author, author_name, body FROM fleet.comments"
                " WHERE alert_id = :id ORDER BY id"
            ),
            {"id": alert_id},
        )
        return found.mappings().all()

    # Incidents.

    async def spans_near(
        self, truck_id: TruckId, incident_id: IncidentId | None, start: datetime,
        until: datetime, gap: timedelta,
    ) -> Sequence[Span]:  # fmt: skip
        """The alerts of every incident that a change of one alert can touch."""
        found = await self._session.execute(
            text(
                """
                SELECT id, incident_id, severity, started_at, ended_at FROM fleet.alerts
                WHERE incident_id IN (
                    SELECT incident_id FROM fleet.alerts WHERE truck_id = :truck_id
                        AND started_at <= :until
                        AND coalesce(ended_at, started_at + interval '1 hour') >= :start
                    UNION SELECT CAST(:incident_id AS uuid)
                )
                """
            ),
            {
                "truck_id": truck_id,
                "incident_id": incident_id,
                "start": start - gap,
                "until": until + gap,
            },
        )
        return [
            Span(row.id, row.incident_id, Severity(row.severity), row.started_at, row.ended_at)
            for row in found
        ]

    async def write_incident(
        self, incident_id: IncidentId, truck_id: TruckId, spans: Sequence[Span],
        started_at: datetime, ended_at: datetime | None, severity: Severity,
    ) -> None:  # fmt: skip
        """Make these alerts one incident."""
        await self._session.execute(
            text(
                """
                INSERT INTO fleet.incidents (id, truck_id, started_at, ended_at, severity, alerts)
                VALUES (:id, :truck_id, :started_at, :ended_at, :severity, :alerts)
                ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at,
                    ended_at = excluded.ended_at, severity = excluded.severity,
                    alerts = excluded.alerts
                """
            ),
            {
                "id": incident_id, "truck_id": truck_id, "started_at": started_at,
                "ended_at": ended_at, "severity": int(severity), "alerts": len(spans),
            },
        )  # fmt: skip
        moved = [span.alert_id for span in spans if span.incident_id != incident_id]
        if moved:
            await self._session.execute(
                text(
                    "UPDATE fleet.alerts SET incident_id = :incident WHERE id = ANY(:ids)"
                ).bindparams(bindparam("ids", type_=ARRAY(Uuid))),
                {"incident": incident_id, "ids": moved},
            )

    async def drop_incidents(self, ids: Collection[IncidentId]) -> None:
        """Forget incidents that have no alerts any more."""
        if ids:
            await self._session.execute(
                text("DELETE FROM fleet.incidents WHERE id = ANY(:ids)").bindparams(
                    bindparam("ids", type_=ARRAY(Uuid))
                ),
                {"ids": list(ids)},
            )

    async def incidents(
        self,
        trucks: Collection[TruckId] | None,
        *,
        incident_id: IncidentId | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 20,
    ) -> Sequence[RowMapping]:
        """Incidents, newest first."""
        where, given, types = _filtered(trucks, (), {"limit": limit}, column="i.truck_id")
        if incident_id is not None:
            where += " AND i.id = :incident_id"
            given["incident_id"] = incident_id
        if before is not None:
            where += " AND (i.started_at, i.id) < (:before_at, CAST(:before_id AS uuid))"
            given["before_at"], given["before_id"] = before
        found = await self._session.execute(
            text(
                "SELECT i.id, i.truck_id, t.number AS truck_number, i.started_at, i.ended_at,"  # noqa: S608 (constants)
                " i.severity, i.alerts FROM fleet.incidents i"
                f" JOIN fleet.trucks t ON t.id = i.truck_id WHERE {where}"
                " ORDER BY i.started_at DESC, i.id DESC LIMIT :limit"
            ).bindparams(*types),
            given,
        )
        return found.mappings().all()

    async def same_in_incident(self, incident_id: IncidentId, behavior: str) -> int:
        """How many alerts of one behavior an incident has."""
        query = text(
            "SELECT count(*) FROM fleet.alerts WHERE incident_id = :id AND behavior = :behavior"
        )
        found: int = await self._session.scalar(query, {"id": incident_id, "behavior": behavior})
        return found


def _filtered(
    trucks: Collection[TruckId] | None,
    conditions: Sequence[str],
    parameters: Mapping[str, Any] | None,
    *,
    column: str = "a.truck_id",
) -> tuple[str, dict[str, Any], list[Any]]:
    """The condition, its parameters, and the types of those that need one."""
    where, given = " AND ".join(("TRUE", *conditions)), dict(parameters or {})
    if trucks is None:
        return where, given, []
    given["trucks"] = list(trucks)
    return (
        f"{where} AND {column} = ANY(:trucks)",
        given,
        [bindparam("trucks", type_=ARRAY(Uuid))],
    )


def _to_alert(row: RowMapping) -> Alert:
    return Alert(
        id=row["id"],
        number=row["number"],
        truck_id=row["truck_id"],
        truck_number=row["truck_number"],
        device_id=row["device_id"],
        incident_id=row["incident_id"],
        behavior=row["behavior"],
        severity=Severity(row["severity"]),
        state=State(row["state"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        stated_at=row["stated_at"],
        received_at=row["received_at"],
        marks=frozenset(Mark(mark) for mark in row["marks"]),
        assignee=row["assignee"],
        version=row["version"],
        legal_hold=row["legal_hold"],
    )
