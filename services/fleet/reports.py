"""What many alerts together say: by behavior, by truck, and as a table for a spreadsheet."""

import csv
import io
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.types import Uuid

from services.fleet.domain import Alert, TruckId
from services.fleet.repositories.alerts import AlertRepository
from services.fleet.schemas import BehaviorReportOut, TruckReportOut, severity_name

_BATCH: Final = 1000
#: What a spreadsheet takes for a formula when a cell begins with it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_BY_BEHAVIOR: Final = """
    SELECT behavior, count(*) AS alerts,
        count(*) FILTER (WHERE state = 'open') AS open,
        count(*) FILTER (WHERE state = 'false_alarm') AS false_alarms,
        count(*) FILTER (WHERE state IN ('false_alarm', 'closed')) AS judged,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM
            acknowledged_at - received_at)) AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM
            acknowledged_at - received_at)) AS p95,
        avg(extract(epoch FROM ended_at - started_at)) AS mean_seconds
    FROM fleet.alerts
    WHERE started_at >= :since AND started_at < :until {only}
    GROUP BY behavior ORDER BY alerts DESC, behavior
"""
_BY_TRUCK: Final = """
    SELECT t.id, t.number, t.name, count(*) AS alerts,
        count(DISTINCT a.incident_id) AS incidents,
        count(*) FILTER (WHERE a.severity = 4) AS critical,
        count(*) FILTER (WHERE a.severity = 3) AS high,
        count(*) FILTER (WHERE a.severity = 2) AS medium,
        count(*) FILTER (WHERE a.severity = 1) AS low,
        count(*) FILTER (WHERE a.severity = 0) AS info
    FROM fleet.alerts a JOIN fleet.trucks t ON t.id = a.truck_id
    WHERE a.started_at >= :since AND a.started_at < :until {only}
    GROUP BY t.id ORDER BY alerts DESC, t.number
"""


class Reports:
    """Counts alerts of the trucks that somebody may see."""

    def __init__(self, session: AsyncSession, trucks: Collection[TruckId] | None) -> None:
        self._session = session
        self._trucks = trucks

    async def by_behavior(self, since: datetime, until: datetime) -> list[BehaviorReportOut]:
        """One line per behavior."""
        return [
            BehaviorReportOut(
                behavior=row["behavior"],
                alerts=row["alerts"],
                open=row["open"],
                false_alarms=row["false_alarms"],
                false_alarm_share=row["false_alarms"] / row["judged"] if row["judged"] else None,
                seconds_to_acknowledge_p50=row["p50"],
                seconds_to_acknowledge_p95=row["p95"],
                mean_seconds=row["mean_seconds"],
            )
            for row in await self._rows(_BY_BEHAVIOR, since, until)
        ]

    async def by_truck(self, since: datetime, until: datetime) -> list[TruckReportOut]:
        """One line per truck."""
        return [
            TruckReportOut(
                truck_id=row["id"],
                truck_number=row["number"],
                name=row["name"],
                alerts=row["alerts"],
                incidents=row["incidents"],
                critical=row["critical"],
                high=row["high"],
                medium=row["medium"],
                low=row["low"],
                info=row["info"],
            )
            for row in await self._rows(_BY_TRUCK, since, until)
        ]

    async def _rows(
        self, statement: str, since: datetime, until: datetime
    ) -> Sequence[Mapping[Any, Any]]:
        given: dict[str, Any] = {"since": since, "until": until}
        if self._trucks is None:
            query = text(statement.format(only=""))
        else:
            query = text(statement.format(only="AND truck_id = ANY(:trucks)")).bindparams(
                bindparam("trucks", type_=ARRAY(Uuid))
            )
            given["trucks"] = list(self._trucks)
        found: Sequence[Mapping[Any, Any]] = (
            (await self._session.execute(query, given)).mappings().all()
        )
        return found


_COLUMNS: Final = (
    "id", "number", "truck_number", "behavior", "severity", "state", "started_at", "ended_at",
    "received_at", "marks", "incident_id",
)  # fmt: skip


async def alerts_as_csv(
    sessions: async_sessionmaker[AsyncSession],
    trucks: Collection[TruckId] | None,
    conditions: Sequence[str],
    parameters: Mapping[str, Any],
) -> AsyncIterator[bytes]:
    """Alerts as comma-separated values (RFC 4180), newest first, a thousand at a time."""
    yield csv_lines([_COLUMNS])
    before: int | None = None
    while True:
        # Each batch is a transaction of its own, so that a slow reader holds none open.
        async with sessions.begin() as session:
            found = await AlertRepository(session).page(
                trucks=trucks,
                conditions=[*conditions, *(() if before is None else ("a.number < :before",))],
                parameters={**parameters, **({} if before is None else {"before": before})},
                limit=_BATCH,
            )
        if found:
            yield csv_lines(map(_cells, found))
            before = found[-1].number
        if len(found) < _BATCH:
            return


def _cells(alert: Alert) -> list[object]:
    return [
        alert.id,
        alert.number,
        alert.truck_number,
        alert.behavior,
        severity_name(alert.severity),
        alert.state,
        alert.started_at.isoformat(),
        "" if alert.ended_at is None else alert.ended_at.isoformat(),
        alert.received_at.isoformat(),
        " ".join(sorted(alert.marks)),
        alert.incident_id,
    ]


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as lines; what a spreadsheet would take for a formula becomes text."""
    written = io.StringIO()
    writer = csv.writer(written)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return written.getvalue().encode()


def _cell(value: object) -> str:
    text_of = str(value)
    return f"'{text_of}" if text_of.startswith(_FORMULA) else text_of
